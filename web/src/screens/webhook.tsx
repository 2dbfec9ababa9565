import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { call } from "../lib/api";
import { useAction, useLive, type Live } from "../lib/live";
import { goTo, linkTo } from "../lib/route";
import type { Webhook } from "../lib/types";
import { can } from "../lib/who";
import { phone, WEBHOOK_STATUS, webhookReason } from "../lib/words";
import { Button, Copy, Dialog, Facts, Loading, Pill, Problem, Time } from "../parts/basics";
import { Title } from "../parts/frame";
import { Deliveries } from "./deliveries";
import { Secret } from "./register";
import { ReplayDialog } from "./replay-dialog";
import { Settings } from "./settings";
import { Statistics } from "./statistics";

const WEBHOOKS: [string, string] = ["Webhooks", "#/webhooks"];

export function WebhookScreen({ id, part }: { id: string; part: string | undefined }): JSX.Element {
  const live = useLive<Webhook>(`/api/webhooks/${encodeURIComponent(id)}`, 3000);
  const webhook = live.data;
  if (!webhook) {
    return (
      <>
        <Title text="Webhook" back={WEBHOOKS} />
        {live.error ? <Problem error={live.error} /> : <Loading what="the webhook" />}
      </>
    );
  }
  const tab = (name: string | undefined, word: string): JSX.Element => (
    <a href={linkTo(name ? ["webhooks", id, name] : ["webhooks", id])} aria-current={part === name ? "page" : undefined}>
      {word}
    </a>
  );
  return (
    <>
      <Title text={webhook.phone_number ? phone(webhook.phone_number) : "Operational webhook"} back={WEBHOOKS}>
        <Actions webhook={webhook} live={live} />
      </Title>
      <p class="lead">
        <Pill tone={WEBHOOK_STATUS[webhook.status].tone}>{WEBHOOK_STATUS[webhook.status].word}</Pill> <span class="url">{webhook.webhook_url}</span>
      </p>
      <State webhook={webhook} />
      <nav class="tabs" aria-label="Parts of the webhook">
        {tab(undefined, "Deliveries")}
        {tab("statistics", "Statistics")}
        {tab("settings", "Settings")}
      </nav>
      {part === "settings" ? (
        <Settings key={webhook.id} webhook={webhook} onChanged={live.refresh} />
      ) : part === "statistics" ? (
        <Statistics webhook={webhook} />
      ) : (
        <Deliveries webhook={webhook} />
      )}
    </>
  );
}

function State({ webhook }: { webhook: Webhook }): JSX.Element {
  const reason = webhookReason(webhook);
  return (
    <>
      {reason && <p class={`notice ${WEBHOOK_STATUS[webhook.status].tone}`}>{reason}</p>}
      {webhook.last_error && webhook.failure_count !== 0 && (
        <p class="notice-detail">
          Last error: <q>{webhook.last_error}</q>
        </p>
      )}
      <Facts
        rows={[
          ["Last success", <Time key="s" at={webhook.last_success_at} none="none yet" />],
          ["Last attempt", <Time key="a" at={webhook.last_attempt_at} none="none yet" />],
          ["Failures in a row", webhook.failure_count ?? "not known now"],
          ["Held", webhook.held_count ?? "not known now"],
          ["Id", <Copy key="i" text={webhook.id} label="the id" />],
        ]}
      />
    </>
  );
}

type Ask = "rotate" | "delete" | "replay" | undefined;

function Actions({ webhook, live }: { webhook: Webhook; live: Live<Webhook> }): JSX.Element {
  const ask = useSignal<Ask>(undefined);
  const testing = useAction();
  const switching = useAction();
  const path = `/api/webhooks/${webhook.id}`;
  const close = (): void => void (ask.value = undefined);
  const test = (): void => {
    testing.run(async () => {
      const { event_id: event } = await call<{ event_id: string }>("POST", `${path}/test`);
      goTo(linkTo(["events", event]));
    });
  };
  const isTaking = webhook.status === "active" || webhook.status === "failed";
  const toggle = (): void => {
    switching.run(async () => {
      await call("PATCH", path, { body: { is_active: !isTaking } });
      live.refresh();
    });
  };
  return (
    <>
      {can("events:write") && (
        <Button onClick={test} isDisabled={testing.isRunning}>
          Send a test
        </Button>
      )}
      {can("webhooks:write") && (
        <Button onClick={toggle} isDisabled={switching.isRunning} kind={isTaking ? "plain" : "main"}>
          {isTaking ? "Pause" : "Activate"}
        </Button>
      )}
      {can("events:write") && isTaking && <Button onClick={() => (ask.value = "replay")}>Replay …</Button>}
      {can("webhooks:write") && <Button onClick={() => (ask.value = "rotate")}>Rotate secret …</Button>}
      {can("webhooks:write") && (
        <Button kind="danger" onClick={() => (ask.value = "delete")}>
          Delete …
        </Button>
      )}
      <Problem error={testing.error ?? switching.error} />
      {ask.value === "rotate" && <Rotate webhook={webhook} onClose={close} />}
      {ask.value === "delete" && <Delete webhook={webhook} onClose={close} />}
      {ask.value === "replay" && <ReplayDialog filters={{ webhook_id: webhook.id }} onClose={close} />}
    </>
  );
}

function Rotate({ webhook, onClose }: { webhook: Webhook; onClose: () => void }): JSX.Element {
  const rotating = useAction();
  const secret = useSignal<string | undefined>(undefined);
  const rotate = (): void => {
    rotating.run(async () => {
      const rotated = await call<Webhook>("POST", `/api/webhooks/${webhook.id}/rotate-secret`);
      secret.value = rotated.signing_secret;
    });
  };
  return (
    <Dialog title="Rotate the secret" onClose={onClose}>
      {secret.value ? (
        <Secret text={secret.value} />
      ) : (
        <p>
          A new secret signs from now on{webhook.signing_secret_hint && `, in place of the one that ends in ${webhook.signing_secret_hint}`}. The old one
          signs beside it for a while, 24 hours unless set otherwise, so that you can change your receiver without a gap. A second rotation ends it
          earlier.
        </p>
      )}
      <Problem error={rotating.error} />
      <div class="buttons">
        {secret.value ? (
          <Button kind="main" onClick={onClose}>
            I have stored it
          </Button>
        ) : (
          <Button kind="main" isDisabled={rotating.isRunning} onClick={rotate}>
            {rotating.isRunning ? "Rotating …" : "Rotate"}
          </Button>
        )}
      </div>
    </Dialog>
  );
}

function Delete({ webhook, onClose }: { webhook: Webhook; onClose: () => void }): JSX.Element {
  const deleting = useAction();
  const remove = (): void => {
    deleting.run(async () => {
      await call("DELETE", `/api/webhooks/${webhook.id}`);
      goTo("#/webhooks");
    });
  };
  return (
    <Dialog title="Delete the webhook" onClose={onClose}>
      <p>
        Messages of {phone(webhook.phone_number)} are not delivered any more. What is held is dropped. Its events can still be read by their ids. To stop
        for a while only, pause it.
      </p>
      <Problem error={deleting.error} />
      <div class="buttons">
        <Button onClick={onClose}>Keep it</Button>
        <Button kind="danger" isDisabled={deleting.isRunning} onClick={remove}>
          {deleting.isRunning ? "Deleting …" : "Delete"}
        </Button>
      </div>
    </Dialog>
  );
}
