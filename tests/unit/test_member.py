"""Where a host finds out that it is a cluster's member, from what deploy/ writes for etcd."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import Environment

from callytics.status import member
from deploy.operations.conf import JINJA, template
from deploy.operations.failover.etcd import authority_of


@pytest.mark.parametrize("address", ["10.0.0.11", "fd77::11"])
def test_a_member_knows_its_address(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Environment(**JINJA).from_string(Path(template("etcd.env.j2")).read_text())  # type: ignore[arg-type]
    settings = tmp_path / "callytics.env"
    settings.write_text(text.render(member="one", peer_urls={}, client_url=f"https://{authority_of(address, 2379)}"))
    monkeypatch.setattr(member, "ETCD_SETTINGS", settings)
    assert member.here() == address


def test_another_host_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "ETCD_SETTINGS", tmp_path / "none")
    assert member.here() is None


def test_an_etcd_that_is_away_is_not_well_and_patroni_untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "ETCD", "http://127.0.0.1:9")
    assert [*member.told("127.0.0.1")] == [
        {"etcd_healthy": False},
        {"failsafe": None},
        {"part": "patroni", "untold": True},
    ]
    assert member.certificate("127.0.0.1") is None
