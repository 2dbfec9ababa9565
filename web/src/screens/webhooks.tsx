import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { ApiError, get, withQuery } from "../lib/api";
import { linkTo, place, setQuery } from "../lib/route";
import type { Page, Webhook } from "../lib/types";
import { can } from "../lib/who";
import { figure, phone, WEBHOOK_STATUS } from "../lib/words";
import { Button, Empty, Loading, Pill, Problem, Time } from "../parts/basics";
import { Search, Select } from "../parts/filters";
import { Title } from "../parts/frame";
import { More, useList } from "../parts/list";
import { Register } from "./register";

export function Webhooks(): JSX.Element {
  const { query } = place.value;
  const text = query.get("q") ?? "";
  const status = query.get("status") ?? "";
  const isSearch = text !== "" || status !== "";
  return (
    <>
      <Title text="Webhooks">
        {can("webhooks:write") && (
          <Button kind="main" onClick={() => setQuery({ new: "1" })}>
            Register a webhook
          </Button>
        )}
      </Title>
      <div class="filters" role="search">
        <Search name="q" label="Search" hint="Number or address" />
        <Select
          name="status"
          label="State"
          options={[
            ["", "Any"],
            ["active", "Active"],
            ["failed", "Failing"],
            ["paused", "Paused"],
            ["disabled", "Disabled"],
          ]}
        />
      </div>
      {isSearch ? <Found text={text} status={status} /> : <All />}
      {query.get("new") && can("webhooks:write") && <Register onClose={() => setQuery({ new: undefined })} />}
    </>
  );
}

function All(): JSX.Element {
  const list = useList<Webhook>("/api/webhooks/list", {}, 5000);
  if (!list.items) return list.error ? <Problem error={list.error} /> : <Loading what="webhooks" />;
  if (list.items.length === 0) {
    return (
      <Empty title="No webhooks yet">
        <p>A webhook is the address that gets the messages of one phone number, signed, and tried again until it takes them.</p>
      </Empty>
    );
  }
  return (
    <>
      <Table webhooks={list.items} />
      <More list={list} />
    </>
  );
}

export function fits(webhook: Webhook, text: string, status: string): boolean {
  const wanted = text.toLowerCase().replace(/^\+/, "").trim();
  const has = (value: string | null): boolean => value?.toLowerCase().includes(wanted) ?? false;
  return (status === "" || webhook.status === status) && (has(webhook.phone_number) || has(webhook.webhook_url) || has(webhook.id));
}

const FOUND_MAX = 200;
const SEARCH_PAUSE_MS = 250;

/** The API has no search, so all pages are read until enough is found. */
function Found({ text, status }: { text: string; status: string }): JSX.Element {
  const state = useSignal<{ found: Webhook[]; read: number; isDone: boolean; error: ApiError | undefined }>({
    found: [],
    read: 0,
    isDone: false,
    error: undefined,
  });
  useEffect(() => {
    const stop = new AbortController();
    const search = async (): Promise<void> => {
      let cursor: string | undefined;
      let found: Webhook[] = [];
      let read = 0;
      for (;;) {
        const page: Page<Webhook> = await get(withQuery("/api/webhooks/list", { limit: 250, cursor }), stop.signal);
        read += page.data.length;
        found = [...found, ...page.data.filter((webhook) => fits(webhook, text, status))].slice(0, FOUND_MAX);
        const isDone = page.next_cursor === null || found.length >= FOUND_MAX;
        state.value = { found, read, isDone, error: undefined };
        if (isDone) return;
        cursor = page.next_cursor ?? undefined;
      }
    };
    const timer = window.setTimeout(() => {
      search().catch((error: unknown) => {
        if (error instanceof ApiError) state.value = { ...state.peek(), isDone: true, error };
      });
    }, SEARCH_PAUSE_MS);
    return () => {
      window.clearTimeout(timer);
      stop.abort();
    };
  }, [text, status, state]);
  const { found, read, isDone, error } = state.value;
  return (
    <>
      <p class="faint" role="status">
        {isDone ? `${figure(found.length)}${found.length >= FOUND_MAX ? " or more" : ""} of ${figure(read)} found` : `Searching: ${figure(read)} read …`}
      </p>
      <Problem error={error} />
      {found.length > 0 && <Table webhooks={found} />}
      {isDone && found.length === 0 && !error && (
        <Empty title="Nothing fits">
          <p>
            <Button onClick={() => setQuery({ q: undefined, status: undefined })}>Clear the search</Button>
          </p>
        </Empty>
      )}
    </>
  );
}

function Table({ webhooks }: { webhooks: Webhook[] }): JSX.Element {
  return (
    <table class="list">
      <thead>
        <tr>
          <th scope="col">Number</th>
          <th scope="col">Address</th>
          <th scope="col">State</th>
          <th scope="col">Last success</th>
          <th scope="col" class="right">
            Held
          </th>
        </tr>
      </thead>
      <tbody>
        {webhooks.map((webhook) => (
          <tr key={webhook.id}>
            <td data-label="Number">
              <a href={linkTo(["webhooks", webhook.id])}>{phone(webhook.phone_number)}</a>
            </td>
            <td data-label="Address" class="url">
              {webhook.webhook_url}
            </td>
            <td data-label="State">
              <Pill tone={WEBHOOK_STATUS[webhook.status].tone}>{WEBHOOK_STATUS[webhook.status].word}</Pill>
            </td>
            <td data-label="Last success">
              <Time at={webhook.last_success_at} none="none yet" />
            </td>
            <td data-label="Held" class="right">
              {webhook.held_count === null ? "–" : figure(webhook.held_count)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
