// Lists in pages: the first page keeps itself up to date, further ones are asked for.

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

import { get, withQuery, type ApiError } from "../lib/api";
import { useAction, useLive } from "../lib/live";
import type { Page } from "../lib/types";
import { Button, Problem } from "./basics";

export interface List<T> {
  items: T[] | undefined;
  error: ApiError | undefined;
  hasMore: boolean;
  isLoadingMore: boolean;
  more: () => void;
  refresh: () => void;
}

type Filters = Record<string, string | undefined>;

export function useList<T extends { id: string }>(path: string | undefined, filters: Filters, everyMs: number): List<T> {
  const first = path === undefined ? undefined : withQuery(path, { limit: 50, ...filters });
  const live = useLive<Page<T>>(first, everyMs);
  const further = useSignal<{ of: string | undefined; items: T[]; next: string | null }>({ of: undefined, items: [], next: null });
  const loading = useAction();
  useEffect(() => {
    further.value = { of: first, items: [], next: null };
  }, [first, further]);

  const mine = further.value.of === first && further.value.items.length > 0 ? further.value : undefined;
  const page = live.data;
  const seen = new Set(mine?.items.map((item) => item.id));
  // What slid from the first page onto a further one is shown once.
  const items = page && [...page.data.filter((item) => !seen.has(item.id)), ...(mine?.items ?? [])];
  const next = mine ? mine.next : (page?.next_cursor ?? null);

  const more = (): void => {
    loading.run(async () => {
      if (path === undefined || next === null || !page) return;
      const got = await get<Page<T>>(withQuery(path, { limit: 50, ...filters, cursor: next }));
      const kept = mine?.items ?? page.data;
      further.value = { of: first, items: [...kept, ...got.data], next: got.next_cursor };
    });
  };
  return {
    items,
    error: live.error ?? loading.error,
    hasMore: next !== null,
    isLoadingMore: loading.isRunning,
    more,
    refresh: live.refresh,
  };
}

export function More<T>({ list }: { list: List<T> }): JSX.Element {
  return (
    <>
      {list.items && <Problem error={list.error} />}
      {list.hasMore && (
        <div class="more">
          <Button onClick={list.more} isDisabled={list.isLoadingMore}>
            {list.isLoadingMore ? "Loading …" : "Show more"}
          </Button>
        </div>
      )}
    </>
  );
}
