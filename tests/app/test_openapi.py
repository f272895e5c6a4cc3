"""The OpenAPI document against the running station: no 5xx, no answer that is not documented."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stations import content_of, record

from flawscope.store.records import QueueState, RoleName
from flawscope.store.reviews import Said

Client = Any
_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def filled(client: Client) -> None:
    """Give a station some of everything, so that answers are not all empty."""
    store = client.station.store
    records = [
        record(n, queue=QueueState.WAITING if n % 2 else QueueState.NO, verdict="REVIEW" if n % 2 else "OK")
        for n in range(6)
    ]
    store.keep(records, [content_of(n) for n in range(6)])
    store.reviews.answer(record(1).id, "kim", Said("good"), needed=2)
    store.reviews.answer(record(1).id, "lee", Said("bad"), needed=2)
    store.alarms.add("light", product="", station="", bundle_id="a" * 12, detail={"share": 0.2})
    store.people.add_token("cell", person="kim", role=RoleName.OPERATOR, expires_us=None, who="kim")


def test_every_route_is_described_with_the_envelope(client: Client) -> None:
    document = client.get("/api/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            assert said["summary"], (method, path)
            if path.startswith("/api/"):
                assert {"401", "403", "422", "503"} <= set(said["responses"]), (method, path)


@pytest.mark.slow
def test_schemathesis_finds_no_5xx_and_nothing_undocumented(
    open_station: Callable[..., Client], world: Any, tmp_path: Path
) -> None:
    client = open_station(models=(world.model,))
    filled(client)
    client.get("/api/openapi.json", timeout=120)  # made at the first request, which may take its time
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{client.base_url}/api/openapi.json"),
        *("--url", str(client.base_url), "--checks", _CHECKS, "--max-examples", "6", "--seed", "1"),
        *("--include-path-regex", "^/(api/|healthz|readyz|metrics)", "--exclude-path", "/api/events"),
        *("--phases", "coverage,fuzzing", "--no-color"),
        *("--request-timeout", "60", "--workers", "1", "--continue-on-failure"),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert json.loads(client.get("/healthz").text)["ok"]
    assert client.station.store.audit.verify().entries > 0
