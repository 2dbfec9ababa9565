"""The systemd unit gives its process the time to drain that its settings ask for."""

import re
import sys
from pathlib import Path

import node_settings

FOLDER = Path(__file__).resolve().parents[2] / "deploy/systemd"


def main():
    unit = (FOLDER / "wahook.service").read_text()
    limit = node_settings.seconds(re.search(r"^TimeoutStopSec=(.*)$", unit, re.MULTILINE)[1])
    faults = list(node_settings.stop_faults("wahook.service", limit, config=FOLDER / "wahook.toml"))
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
