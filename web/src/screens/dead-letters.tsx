import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { call } from "../lib/api";
import { useAction, useLive } from "../lib/live";
import { linkTo, setQuery } from "../lib/route";
import type { DeadLetter, Page, Webhook } from "../lib/types";
import { can } from "../lib/who";
import { phone } from "../lib/words";
import { Beyond, Button, Empty, Loading, Problem, Time } from "../parts/basics";
import { chosen, Select, TYPES, When } from "../parts/filters";
import { Title } from "../parts/frame";
import { More, useList } from "../parts/list";
import { ReplayDialog } from "./replay-dialog";

const NAMES = ["webhook_id", "type", "since", "until"];

export function DeadLetters(): JSX.Element {
  const filters = chosen(NAMES);
  const list = useList<DeadLetter>("/api/dead-letters", filters, 3000);
  const webhooks = useLive<Page<Webhook>>(can("webhooks:read") ? "/api/webhooks/list?limit=250" : undefined, 60_000);
  const isReplaying = useSignal(false);
  const isFiltered = Object.values(filters).some(Boolean);
  const known = new Map(webhooks.data?.data.map((webhook) => [webhook.id, phone(webhook.phone_number)]));
  const wanted = filters["webhook_id"];
  if (wanted && !known.has(wanted)) known.set(wanted, wanted);
  return (
    <>
      <Title text="Dead letters">
        {can("events:write") && list.items && list.items.length > 0 && (
          <Button kind="main" onClick={() => (isReplaying.value = true)}>
            {isFiltered ? "Replay all that match …" : "Replay all …"}
          </Button>
        )}
      </Title>
      <p class="faint">Deliveries that were given up and have not arrived since. Put the endpoint right first, then send them again.</p>
      <div class="filters">
        <Select name="webhook_id" label="Webhook" options={[["", "Any"], ...known]} />
        <Select name="type" label="Type" options={[["", "Any"], ...TYPES.map((type): [string, string] => [type, type])]} />
        <When name="since" label="From" />
        <When name="until" label="Until" />
        {isFiltered && <Button onClick={() => setQuery(Object.fromEntries(NAMES.map((name) => [name, undefined])))}>Clear</Button>}
      </div>
      {!list.items && (list.error ? <Problem error={list.error} /> : <Loading what="dead letters" />)}
      {list.items?.length === 0 &&
        !list.hasMore &&
        (isFiltered ? <Empty title="Nothing fits" /> : <Empty title="No dead letters">Everything was delivered, or is still tried.</Empty>)}
      {list.items && list.items.length > 0 && <Letters letters={list.items} numbers={known} onRetried={list.refresh} />}
      <More list={list} />
      {isReplaying.value && <ReplayDialog filters={filters} onClose={() => (isReplaying.value = false)} />}
    </>
  );
}

interface LettersProps {
  letters: DeadLetter[];
  numbers: Map<string, string>;
  onRetried: () => void;
}

function Letters({ letters, numbers, onRetried }: LettersProps): JSX.Element {
  return (
      <table class="list">
        <thead>
          <tr>
            <th scope="col">Given up</th>
            <th scope="col">Message</th>
            <th scope="col">Webhook</th>
            <th scope="col">Why</th>
            <th scope="col">
              <span class="hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {letters.map((letter) => (
            <tr key={letter.id}>
              <td data-label="Given up">
                <Time at={letter.given_up_at} />
              </td>
              <td data-label="Message">
                <a href={linkTo(["events", letter.id])}>
                  {letter.message_type}
                  {letter.from ? ` from ${letter.from}` : ""}
                </a>
              </td>
              <td data-label="Webhook">
                <a href={linkTo(["webhooks", letter.webhook_id])}>{numbers.get(letter.webhook_id) ?? "webhook"}</a>
              </td>
              <td data-label="Why" class="answer">
                {letter.http_status !== null && <span class="status">{letter.http_status}</span>}
                <Beyond error={letter.reason} status={letter.http_status} />
                {letter.response && <span class="clip faint">{letter.response}</span>}
              </td>
              <td class="right">
                <Retry letter={letter} onRetried={onRetried} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
  );
}

function Retry({ letter, onRetried }: { letter: DeadLetter; onRetried: () => void }): JSX.Element | null {
  const retrying = useAction();
  if (!can("events:write")) return null;
  const retry = (): void => {
    retrying.run(async () => {
      await call("POST", `/api/webhooks/events/${encodeURIComponent(letter.id)}/retry`);
      onRetried();
    });
  };
  return (
    <>
      <Button kind="small" isDisabled={retrying.isRunning} onClick={retry} label={`Try again: ${letter.message_id}`}>
        Try again
      </Button>
      <Problem error={retrying.error} />
    </>
  );
}
