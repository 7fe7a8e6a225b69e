"""The life of an installation, from an empty database to the served application: every command in its turn."""

from __future__ import annotations

import shutil
from pathlib import Path

from callytics.postgres.session import settle
from callytics.settings import Settings
from tests.support.application import api_with_agents
from tests.support.endings import run
from tests.support.installation import Installation
from tests.support.samples import write_sample

SPOKEN = "update utterances set text = 'It''s 5 \\ 6' where id = (select min(id) from utterances)"
ANALYSIS = {
    "audio_file": {
        "file_path": "C:\\calls\\it's.wav",
        "file_name": "it's.wav",
        "file_size": 1,
        "duration_seconds": 0.1 + 0.2,
        "sample_rate": 16000,
        "channels": 1,
        "format_type": "wav",
    },
    "segments": [{"speaker_id": "SPEAKER_00", "start_time": 0.0, "end_time": 4.2, "speaker_type": "agent"}],
    "transcriptions": [{"segment_index": 0, "text": "C:\\new 'n' %s {}", "start_time": 0.0, "end_time": 4.2}],
}


def lead(settings: Settings, folder: Path) -> None:
    """Do in the current folder, which must be ``folder``, what an installation does; each must end well."""
    for command in ("env check", "migrate", "migrate", "grants", "partitions ahead"):
        succeed(command, settings, "")
    with Installation.on(settings, folder, "calls.sqlite") as installation:
        with installation.connection.cursor() as cursor:
            settle(cursor)
        write_sample(installation.file, generation=2, calls=2, seed=1)
        succeed("import", settings, "calls.sqlite --yes")
        succeed("verify", settings, "calls.sqlite")
        installation.write(SPOKEN)
        succeed("sync", settings, "calls.sqlite")
        succeed("verify", settings, "calls.sqlite")
        assert installation.problems() == []
        assert_well(settings)
        succeed("report", settings, "")
        serve(settings)
        succeed("undo", settings, "1 --yes")
    assert_well(settings)
    shutil.rmtree(folder / "callytics-imports")


def succeed(command: str, settings: Settings, arguments: str) -> str:
    """Require that a command ends with 0, and return what it printed."""
    result = run(command, settings, arguments)
    assert result.exit_code == 0, f"{command}: {result.output}"
    return result.stdout


def assert_well(settings: Settings) -> None:
    """Require that the doctor finds nothing, but for what the server of the tests risks, and public defaults."""
    result = run("doctor", settings, "")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    found = [line for line in result.stdout.splitlines() if line.startswith(("error", "warning"))]
    assert [line for line in found if line.split()[1] not in ("settings", "public", "log")] == [], result.output


def serve(settings: Settings) -> None:
    """Require that the service is healthy, stores a call and gives it back as it was."""
    with api_with_agents(settings) as api:
        assert api.client.get("/health").status_code == 200
        stored = api.client.post("/analyses", json=ANALYSIS, headers=api.log_in("writer"))
        assert stored.status_code == 201, stored.text
        read = api.client.get(stored.headers["location"], headers=api.log_in("reader")).json()
        file = read["audio_analysis"]["audio_file"]
        assert file["duration_seconds"] == 0.1 + 0.2
        assert file["created_at"].endswith(("Z", "+00:00"))
        assert read["transcript"][0]["text"] == "C:\\new 'n' %s {}"
