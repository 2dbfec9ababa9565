// Data that keeps itself up to date by asking again, while the tab is looked at.

import { signal, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";

import { ApiError, get } from "./api";

export interface Live<T> {
  data: T | undefined;
  error: ApiError | undefined;
  /** Asks at once. */
  refresh: () => void;
}

/** The time, for words like "5 s ago". */
export const now = signal(Date.now());

export function keepTime(): void {
  setInterval(() => {
    if (!document.hidden) now.value = Date.now();
  }, 1000);
}

function asError(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError(0, "page", "The page went wrong", String(error));
}

/**
 * What is at this path, asked for again every so often; nothing for `undefined`. An answer that comes after the path
 * has changed is dropped. An error keeps the last data on the screen.
 */
export function useLive<T>(path: string | undefined, everyMs: number): Live<T> {
  const state = useSignal<{ path: string | undefined; data: T | undefined; error: ApiError | undefined }>({
    path,
    data: undefined,
    error: undefined,
  });
  const asked = useSignal(0);
  const wait = useRef(everyMs);
  wait.current = everyMs;
  const round = asked.value;

  useEffect(() => {
    if (path === undefined) return undefined;
    const stop = new AbortController();
    let timer = 0;
    const ask = async (): Promise<void> => {
      try {
        const data = await get<T>(path, stop.signal);
        if (!stop.signal.aborted) state.value = { path, data, error: undefined };
      } catch (error) {
        if (stop.signal.aborted) return;
        const old = state.peek();
        state.value = { path, data: old.path === path ? old.data : undefined, error: asError(error) };
      }
      plan();
    };
    const plan = (): void => {
      if (stop.signal.aborted) return;
      timer = window.setTimeout(() => {
        if (document.hidden) whenSeen();
        else void ask();
      }, wait.current);
    };
    const whenSeen = (): void => {
      const seen = (): void => {
        if (document.hidden) return;
        document.removeEventListener("visibilitychange", seen);
        if (!stop.signal.aborted) void ask();
      };
      document.addEventListener("visibilitychange", seen);
    };
    void ask();
    return () => {
      stop.abort();
      window.clearTimeout(timer);
    };
  }, [path, round, state]);

  const refresh = useMemo(() => () => void (asked.value += 1), [asked]);
  const known = state.value.path === path ? state.value : { data: undefined, error: undefined };
  return { data: known.data, error: known.error, refresh };
}

export interface Action {
  isRunning: boolean;
  error: ApiError | undefined;
  run: (work: () => Promise<void>) => void;
  clear: () => void;
}

/** Something that a reader starts: once at a time, with its error kept beside it. */
export function useAction(): Action {
  const isRunning = useSignal(false);
  const error = useSignal<ApiError | undefined>(undefined);
  const run = (work: () => Promise<void>): void => {
    if (isRunning.peek()) return;
    isRunning.value = true;
    error.value = undefined;
    work()
      .catch((reason: unknown) => {
        error.value = asError(reason);
      })
      .finally(() => {
        isRunning.value = false;
      });
  };
  return { isRunning: isRunning.value, error: error.value, run, clear: () => void (error.value = undefined) };
}

