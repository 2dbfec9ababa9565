// Where the reader is. It stands behind the `#`, so that wahook serves one document, nothing of it reaches a proxy's
// log, and every view with its filters can be bookmarked and opened in a new tab.

import { computed, signal } from "@preact/signals";

export interface Place {
  path: string[];
  query: URLSearchParams;
}

export function parsePlace(hash: string): Place {
  const text = hash.replace(/^#/, "");
  const at = text.indexOf("?");
  const path = at < 0 ? text : text.slice(0, at);
  const query = new URLSearchParams(at < 0 ? "" : text.slice(at + 1));
  const parts = path.split("/").filter((part) => part !== "");
  return { path: parts.map(decode), query };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The link to a place. Parameters without a value are left out. */
export function linkTo(path: string[], query: Record<string, string | undefined> = {}): string {
  const kept = Object.entries(query).filter((pair): pair is [string, string] => Boolean(pair[1]));
  const text = new URLSearchParams(kept).toString();
  const joined = `#/${path.map(encodeURIComponent).join("/")}`;
  return text ? `${joined}?${text}` : joined;
}

const hash = signal(globalThis.location.hash);

export const place = computed(() => parsePlace(hash.value));

export function followLocation(): void {
  globalThis.addEventListener("hashchange", () => {
    hash.value = globalThis.location.hash;
  });
}

/** Changes filters of this view without a step in the history for each letter. */
export function setQuery(changes: Record<string, string | undefined>): void {
  const { path, query } = place.peek();
  const all: Record<string, string | undefined> = { ...Object.fromEntries(query), ...changes };
  const link = linkTo(path, all);
  globalThis.history.replaceState(null, "", link);
  hash.value = link;
}

export function goTo(link: string): void {
  globalThis.location.hash = link;
}
