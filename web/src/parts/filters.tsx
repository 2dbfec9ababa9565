// Filters, which live in the address.

import type { JSX } from "preact";

import { place, setQuery } from "../lib/route";

export function Select({ name, label, options }: { name: string; label: string; options: [string, string][] }): JSX.Element {
  return (
    <label class="filter">
      <span>{label}</span>
      <select value={place.value.query.get(name) ?? ""} onChange={(event) => setQuery({ [name]: event.currentTarget.value })}>
        {options.map(([value, words]) => (
          <option key={value} value={value}>
            {words}
          </option>
        ))}
      </select>
    </label>
  );
}

/** A time in the reader's zone; the address and the API have it in UTC. */
export function When({ name, label }: { name: string; label: string }): JSX.Element {
  const change = (text: string): void => {
    setQuery({ [name]: text ? new Date(text).toISOString() : undefined });
  };
  return (
    <label class="filter">
      <span>{label}</span>
      <input type="datetime-local" value={localTime(place.value.query.get(name))} onChange={(event) => change(event.currentTarget.value)} />
    </label>
  );
}

/** What an input for times shows for a time in UTC. */
export function localTime(iso: string | null): string {
  if (!iso || Number.isNaN(Date.parse(iso))) return "";
  const at = new Date(iso);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

export function Search({ name, label, hint }: { name: string; label: string; hint: string }): JSX.Element {
  return (
    <label class="filter wide">
      <span>{label}</span>
      <input
        type="search"
        placeholder={hint}
        value={place.value.query.get(name) ?? ""}
        onInput={(event) => setQuery({ [name]: event.currentTarget.value })}
      />
    </label>
  );
}

/** The filters of this view that are set, for the API. */
export function chosen(names: string[]): Record<string, string | undefined> {
  const { query } = place.value;
  return Object.fromEntries(names.map((name) => [name, query.get(name) ?? undefined]));
}

export const TYPES = [
  "text",
  "image",
  "video",
  "audio",
  "document",
  "sticker",
  "location",
  "contact",
  "reaction",
  "poll",
  "edit",
  "revoke",
  "receipt",
  "test",
];
