"""Hands deliveries in the format of Meta's Cloud API to a bot that was written with pywa."""

import json
import logging
import sys

import pywa

deliveries = json.load(open(sys.argv[1], encoding="utf-8"))
# What the handlers for messages, buttons, … of a bot get.
handled = {
    "button_reply": "CallbackButton",
    "list_reply": "CallbackSelection",
    "flow_reply": "FlowCompletion",
    "receipt": "MessageStatus",
    "edit": "EditedMessage",
    "revoke": "DeletedMessage",
    "own edit": "OutgoingEditedMessage",
    "own revoke": "OutgoingDeletedMessage",
}
logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
wrong = 0
for delivery in deliveries:
    bot = pywa.WhatsApp(
        phone_id=delivery["phone_number_id"],
        token="token",
        app_secret=delivery["secret"],
        verify_token="token",
        server=None,
    )
    seen = []
    for on in (
        bot.on_message,
        bot.on_outgoing_message,
        bot.on_callback_button,
        bot.on_callback_selection,
        bot.on_flow_completion,
        bot.on_message_status,
        bot.on_edited_message,
        bot.on_deleted_message,
        bot.on_outgoing_edited_message,
        bot.on_outgoing_deleted_message,
    ):
        on(lambda client, update: seen.append(update))
    body = delivery["body"].encode()
    refusal = bot.webhook_update_validator(body, delivery["headers"]["x-hub-signature-256"])
    if not refusal:
        bot.webhook_update_handler(body)
    kind = delivery["kind"]
    names = [type(update).__name__ for update in seen]
    expected = handled.get(kind, "OutgoingMessage" if kind.startswith("own") else "Message")
    text = getattr(seen[0], "text", None) if seen else None
    is_right = names == [expected] and (kind != "text" or text == delivery["content"])
    if not is_right:
        wrong += 1
        print(kind, "was seen as", names, repr(text), "refusal:", refusal)
print(len(deliveries), "deliveries,", wrong, "not seen as they are")
sys.exit(wrong > 0 or not deliveries)
