import { afterEach, describe, expect, it, vi } from "vitest";

import { ApiError, call, onSignedOut, withQuery } from "../src/lib/api";
import { filled } from "../src/lib/hours";
import { linkTo, parsePlace } from "../src/lib/route";
import type { Hour, Webhook } from "../src/lib/types";
import { ago, bytes, sessionState, span, webhookReason } from "../src/lib/words";
import { localTime } from "../src/parts/filters";
import { changesOf, scheduleWords } from "../src/screens/settings";
import { fits } from "../src/screens/webhooks";

const webhook = (fields: Partial<Webhook>): Webhook => ({ status: "active", held_count: 0, phone_number: "4915112345678", webhook_url: "https://a.example/Hook", id: "1", ...fields }) as Webhook;

describe("places", () => {
  it("come back out of their links", () => {
    const link = linkTo(["webhooks", "a/b ü"], { status: "failed", q: "", since: undefined, x: "1&2" });
    const place = parsePlace(link);
    expect(place.path).toEqual(["webhooks", "a/b ü"]);
    expect([...place.query]).toEqual([["status", "failed"], ["x", "1&2"]]);
  });
  it("never fail", () => {
    expect(parsePlace("#/%zz?%").path).toEqual(["%zz"]);
    expect(parsePlace("").path).toEqual([]);
  });
});

describe("words", () => {
  it("tell times and sizes", () => {
    const now = Date.parse("2026-11-30T12:00:00Z");
    expect(ago("2026-11-30T11:59:55Z", now)).toBe("5 s ago");
    expect(ago("2026-11-30T12:02:00Z", now)).toBe("in 2 min");
    expect(ago("2026-11-28T12:00:00Z", now)).toBe("2 d ago");
    expect([bytes(0), bytes(1536), bytes(268435456)]).toEqual(["0 B", "1.5 KiB", "256 MiB"]);
    expect([span(5), span(3660), span(604800)]).toEqual(["5 s", "1 h 1 min", "7 d"]);
  });
  it("have something to say of a state that is new", () => {
    expect(sessionState("silent").word).toBe("Silent");
    expect(sessionState("asleep")).toMatchObject({ word: "asleep", tone: "warn" });
  });
  it("tell why a webhook takes nothing, and what to do", () => {
    expect(webhookReason(webhook({ status: "paused", held_count: 1 }))).toContain("1 delivery is held");
    expect(webhookReason(webhook({ status: "disabled", disabled_reason: "gone", held_count: 0 }))).toContain("410");
    expect(webhookReason(webhook({}))).toBe("");
  });
});

describe("forms", () => {
  it("send what was changed, and nothing else", () => {
    const before = { rate_per_second: "50", burst: "50", retry_schedule: "", ordering: "none" };
    expect(changesOf(before, before)).toEqual({});
    expect(changesOf(before, { ...before, rate_per_second: "7", burst: "", retry_schedule: "5, 60" })).toEqual({
      rate_per_second: 7,
      burst: null,
      retry_schedule: [5, 60],
    });
  });
  it("explain a schedule", () => {
    expect(scheduleWords("5, 60")).toContain("after 5 s, then 1 min");
    expect(scheduleWords("5, x")).toContain("Whole seconds");
  });
  it("show a time in the reader's zone", () => {
    const shown = localTime("2026-11-30T12:00:00Z");
    expect(new Date(shown).toISOString()).toBe("2026-11-30T12:00:00.000Z");
    expect(localTime("nonsense")).toBe("");
  });
});

describe("search", () => {
  it("finds numbers as people write them, and addresses", () => {
    expect(fits(webhook({}), "+4915112", "")).toBe(true);
    expect(fits(webhook({}), "A.EXAMPLE/hook", "active")).toBe(true);
    expect(fits(webhook({}), "", "paused")).toBe(false);
  });
});

describe("charts", () => {
  it("have a value for each hour", () => {
    const since = Date.parse("2026-11-30T10:00:00Z");
    const hour: Hour = { hour: "2026-11-30T11:00:00Z", attempts: 5, delivered: 3, failed: 1, latency_mean_ms: 8, latency_max_ms: 9, body_bytes: 1 };
    const series = filled([hour], since, 3);
    expect(series.delivered).toEqual([0, 3, 0]);
    expect(series.others).toEqual([0, 1, 0]);
    expect(series.latency).toEqual([null, 8, null]);
  });
});

describe("the way to the API", () => {
  afterEach(() => vi.unstubAllGlobals());
  const answer = (status: number, body: unknown): Response => new Response(JSON.stringify(body), { status });

  it("sends the page's header, and turns problems into errors", async () => {
    const fetched = vi.fn(() => Promise.resolve(answer(400, { code: "invalid_request", title: "t", errors: [{ pointer: "/a", detail: "b" }] })));
    vi.stubGlobal("fetch", fetched);
    const error: unknown = await call("POST", "/api/x", { body: {} }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ApiError);
    expect((error as ApiError).fields).toEqual([{ pointer: "/a", detail: "b" }]);
    const [path, init] = fetched.mock.calls[0] as unknown as [string, RequestInit];
    expect(path).toBe("./api/x");
    expect(init.headers).toMatchObject({ "x-wahook-page": "1", "content-type": "application/json" });
  });
  it("tells that nobody is signed in, but not of a wrong token at sign-in", async () => {
    const told = vi.fn();
    onSignedOut(told);
    vi.stubGlobal("fetch", () => Promise.resolve(answer(401, { code: "unauthorized" })));
    await call("POST", "/api/page/session", { body: {} }).catch(() => undefined);
    expect(told).not.toHaveBeenCalled();
    await call("GET", "/api/usage").catch(() => undefined);
    expect(told).toHaveBeenCalledOnce();
  });
  it("leaves out parameters without a value", () => {
    expect(withQuery("/a", { b: "", c: undefined, d: 1 })).toBe("/a?d=1");
  });
});
