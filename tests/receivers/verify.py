"""Verifies deliveries with the libraries of Standard Webhooks and Svix."""

import json
import sys

import standardwebhooks
import svix.webhooks

deliveries = json.load(open(sys.argv[1], encoding="utf-8"))
refused = 0
for delivery in deliveries:
    for verifier in (standardwebhooks.Webhook, svix.webhooks.Webhook):
        try:
            verifier(delivery["secret"]).verify(delivery["body"].encode(), delivery["headers"])
        except Exception as error:  # Whatever it is, it is what a receiver would see.
            refused += 1
            print(verifier.__module__, delivery["kind"], repr(error))
print(len(deliveries), "deliveries,", refused, "refusals")
sys.exit(refused > 0 or not deliveries)
