"""A Docker engine of this test run's own, and the images that docker-compose.yml stands on, of Debian's packages.

Debian's dockerd with its own folders, socket and network: no rule of the host's firewall is written, and nothing
listens but what a test publishes. Its images stay in ~/.cache/callytics-lab: each takes a quarter of a minute.
They are made by the first test that asks for them, or before that by `python -m tests.infra.engine`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.infra.lab import (
    apt_settings,
    apt_sources,
    bootstrap,
    cache,
    certificate_authorities,
    locked,
    run,
    wait_until,
)
from tests.support.places import REPOSITORY

TOOLS = ("docker", "docker-compose", "dockerd", "mmdebstrap")
# Apart from the lab's bridge, 10.77.0.0/24.
NETWORKS = "base=10.78.0.0/16,size=24"
ENTRY_POINT = Path(__file__).with_name("images") / "docker-entrypoint.sh"
BIN = "/usr/lib/postgresql/15/bin"
SAMPLE = "/usr/share/postgresql/15/postgresql.conf.sample"
NO_CLUSTER = (
    'mkdir -p "$1"/etc/postgresql-common && '
    'echo "create_main_cluster = false" >"$1"/etc/postgresql-common/createcluster.conf'
)


@dataclass(frozen=True)
class Base:
    """An image under the name that Docker's registry has it by: its packages, what is done to them, its settings.

    ``others`` are further names of it.
    """

    name: str
    packages: tuple[str, ...]
    before: tuple[str, ...]
    after: tuple[str, ...]
    changes: tuple[str, ...]
    others: tuple[str, ...] = ()


BASES = (
    Base(
        "python:3.11-slim",
        ("python3", "python3-venv", "ca-certificates"),
        (),
        ('ln -s python3 "$1"/usr/bin/python',),
        ("ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt",),
    ),
    # Prometheus and Alertmanager, of one tree: the compose file names the program.
    Base(
        "prom/prometheus:v2.42.0",
        ("prometheus", "prometheus-alertmanager", "ca-certificates"),
        # Nothing of it starts by itself here, and the packages' services are none of an image's.
        (),
        (
            'ln -s prometheus-alertmanager "$1"/usr/bin/alertmanager',
            'chroot "$1" install -d -o nobody -g nogroup /prometheus /alertmanager',
        ),
        ("USER nobody", "VOLUME /prometheus"),
        ("prom/alertmanager:v0.25.0",),
    ),
    Base(
        "postgres:15",
        ("postgresql-15", "ca-certificates"),
        (NO_CLUSTER,),
        (
            f'cp {ENTRY_POINT} "$1"/usr/local/bin/ && mkdir "$1"/docker-entrypoint-initdb.d',
            # As the official image does: its server listens to the containers' network.
            f"""sed -i "s/^#listen_addresses = .*/listen_addresses = '*'/" "$1"{SAMPLE}""",
            'chroot "$1" install -d -m 1777 -o postgres -g postgres /var/lib/postgresql/data',
        ),
        (
            'ENTRYPOINT ["docker-entrypoint.sh"]',
            'CMD ["postgres"]',
            f"ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:{BIN}",
            "ENV PGDATA=/var/lib/postgresql/data",
            "ENV LANG=C.UTF-8",
            "VOLUME /var/lib/postgresql/data",
            "EXPOSE 5432",
        ),
    ),
)


def lacks() -> str | None:
    """Say why no engine can be run here, or nothing when it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a Docker engine of the tests' own needs Linux and root"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"missing {', '.join(missing)}: apt-get install docker.io docker-compose mmdebstrap"
    return None


@dataclass(frozen=True)
class Engine:
    """A running dockerd."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What docker and docker-compose need to find it, and nothing of this machine's own settings."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return kept | {"DOCKER_HOST": f"unix://{self.folder}/docker.sock", "DOCKER_CONFIG": str(self.folder)}

    def docker(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the command ``docker``."""
        # The builder that Debian has; buildx would be another package.
        environment = self.environment | {"DOCKER_BUILDKIT": "0"}
        return run("docker", *arguments, check=check, env=environment, **options)

    def has(self, image: str, recipe: str) -> bool:
        """Return whether an image is there and made by this recipe."""
        answer = self.docker("image", "inspect", "--format", '{{index .Config.Labels "recipe"}}', image, check=False)
        return answer.stdout.strip() == recipe

    def make_bases(self) -> None:
        """Make the images that are missing, or whose recipe is another by now."""
        for base in BASES:
            recipe = digest(base)
            if not self.has(base.name, recipe):
                with tempfile.TemporaryDirectory() as folder:
                    tree = Path(folder, "image.tar")
                    bootstrap(tree, base.packages, base.before, base.after)
                    assert tarfile.is_tarfile(tree)
                    changes = [f"--change={change}" for change in (*base.changes, f"LABEL recipe={recipe}")]
                    self.docker("import", *changes, str(tree), base.name)
                    for other in base.others:
                        self.docker("tag", base.name, other)

    def build(self) -> None:
        """Build the image of docker-compose.yml from this checkout; unchanged layers are the engine's cache's."""
        # The host's network: the engine has no way out of its own, as it writes no firewall rules.
        options = ("build", "--network=host", "--file=docker/Dockerfile")
        # The first stage has a name, too, or its layers would go with what is left over.
        for tags in (("--tag=callytics-build", "--target=build"), ("--tag=callytics",)):
            self.docker(*options, *tags, ".", cwd=REPOSITORY, timeout=600)


def digest(base: Base) -> str:
    """Return a name for all that an image is made of."""
    authorities = [path.read_text() for path in certificate_authorities()]
    parts = [repr(base), apt_sources(), apt_settings(), ENTRY_POINT.read_text(), *authorities]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


@contextmanager
def engine() -> Iterator[Engine]:
    """Run an engine; one at a time on a machine, since they share the images."""
    kept = cache() / "docker"
    with locked("docker"), tempfile.TemporaryDirectory(prefix="callytics-docker-") as name:
        folder = Path(name)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command(folder, kept), stdout=log, stderr=log, start_new_session=True)
        running = Engine(folder)
        try:
            wait_until(
                lambda: running.docker("info", check=False).returncode == 0,
                60,
                "dockerd does not answer",
                folder / "log",
            )
            clear(running)
            yield running
            clear(running)
        finally:
            end(process)
            # What dockerd leaves mounted keeps its folder from going.
            for left in folder.glob("exec/netns/*"):
                run("umount", str(left), check=False)


def end(process: subprocess.Popen[bytes]) -> None:
    """End an engine, whose containers have gone."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def command(folder: Path, kept: Path) -> list[str]:
    """Return the command line of an engine that touches nothing of this machine's."""
    return [
        "dockerd",
        f"--host=unix://{folder}/docker.sock",
        f"--data-root={kept}",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/pid",
        "--bridge=none",
        f"--default-address-pool={NETWORKS}",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-masq=false",
        "--exec-opt=native.cgroupdriver=cgroupfs",
    ]


def clear(running: Engine) -> None:
    """Remove what a test, or one that was killed, left beside the images."""
    if left := running.docker("ps", "--all", "--quiet").stdout.split():
        running.docker("rm", "--force", "--volumes", *left)
    running.docker("volume", "prune", "--force")
    running.docker("network", "prune", "--force")
    # Layers of earlier checkouts: vfs keeps each as a whole copy.
    running.docker("image", "prune", "--force")


if __name__ == "__main__":
    if reason := lacks():
        sys.exit(reason)
    with engine() as made:
        made.make_bases()
        made.build()
