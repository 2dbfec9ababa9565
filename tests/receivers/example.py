"""Reads deliveries in every format as examples/receiver.py does."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples"))

import receiver  # noqa: E402

deliveries = json.load(open(sys.argv[1], encoding="utf-8"))
wrong = 0
for delivery in deliveries:
    body = delivery["body"].encode()
    accepted = receiver.verified([delivery["secret"]], delivery["headers"], body)
    forged = receiver.verified([delivery["secret"]], delivery["headers"], body + b" ")
    if not accepted or forged or not receiver.message_id(body):
        wrong += 1
        print(delivery["kind"], accepted, forged, repr(receiver.message_id(body)))
print(len(deliveries), "deliveries,", wrong, "wrong")
sys.exit(wrong > 0 or not deliveries)
