"""How a test asks the widgets' JavaScript without a browser."""

import json
import subprocess
import sys
from pathlib import Path

from vae_lib.widgets.bundle import FOLDER

# where packages are installed: an environment of other backends takes Node, as all else, from the main one
_PLACES = [Path(sys.executable).parent, Path(__file__).parents[1] / ".venv" / "bin"]
NODE = next((place / "node" for place in _PLACES if (place / "node").exists()), _PLACES[0] / "node")
HEAD = """
import { readFileSync } from "node:fs";
const given = JSON.parse(readFileSync(0, "utf-8"));
const answer = (value) => console.log(JSON.stringify(value));
"""


def in_node(code, given):
    """Run JavaScript beside the widgets' files, with `given` under that name; return what it passes to `answer`."""
    command = [str(NODE), "--input-type=module", "--eval", HEAD + code]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False, cwd=FOLDER)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
