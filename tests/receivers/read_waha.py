"""Reads deliveries in WAHA's format with the types that waha-py generates from WAHA's OpenAPI."""

import json
import sys

from waha.generated import models

PAYLOADS = {
    "message": models.WAMessage,
    "message.any": models.WAMessage,
    "message.ack": models.WAMessageAckBody,
    "message.edited": models.WAMessageEditedBody,
    "message.revoked": models.WAMessageRevokedBody,
    "message.reaction": models.WAMessageReaction,
}

deliveries = json.load(open(sys.argv[1], encoding="utf-8"))
wrong = 0
for delivery in deliveries:
    body = json.loads(delivery["body"])
    try:
        PAYLOADS[body["event"]].model_validate(body["payload"])
        models.MeInfo.model_validate(body["me"])
        models.WAHAEnvironment.model_validate(body["environment"])
        models.Engine(body["engine"])
    except Exception as error:
        wrong += 1
        print(delivery["kind"], body["event"], error)
print(len(deliveries), "deliveries,", wrong, "not of WAHA's types")
sys.exit(wrong > 0 or not deliveries)
