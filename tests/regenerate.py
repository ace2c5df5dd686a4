"""Writes golden files, facts.json and the README's table: `python -m tests.regenerate`."""

import json

from tests.test_docs import README, with_table
from tests.test_facts import FACTS, compute
from tests.test_structure import write
from tests.zoo import CASES

if __name__ == "__main__":
    for case in CASES:
        write(case)
        print(case.id)
    FACTS.write_text(json.dumps(compute(), indent=2) + "\n")
    README.write_text(with_table(README.read_text()))
