// Words for states and figures, in one place.

import type { Attempt, Session, SessionState, Webhook, WebhookStatus } from "./types";

export type Tone = "good" | "bad" | "warn" | "calm" | "busy";

export const WEBHOOK_STATUS: Record<WebhookStatus, { word: string; tone: Tone }> = {
  active: { word: "Active", tone: "good" },
  failed: { word: "Failing", tone: "bad" },
  paused: { word: "Paused", tone: "warn" },
  disabled: { word: "Disabled", tone: "bad" },
};

/** Why a webhook is as it is, and what to do; nothing when all is well. */
export function webhookReason(webhook: Webhook): string {
  const held = webhook.held_count
    ? ` ${count(webhook.held_count, "delivery is", "deliveries are")} held, for seven days at most.`
    : "";
  switch (webhook.status) {
    case "paused":
      return `You paused this webhook. Activate it to send what comes in.${held}`;
    case "disabled":
      return webhook.disabled_reason === "gone"
        ? `wahook stopped it: the endpoint answered 410 Gone. Put the endpoint right, then activate it.${held}`
        : `wahook stopped it: nothing was delivered for days. Put the endpoint right, then activate it.${held}`;
    case "failed":
      return "The last delivery was given up. New messages are still sent. The newest failure tells why.";
    case "active":
      return webhook.held_count ? `Sending what was held: ${count(webhook.held_count, "delivery", "deliveries")} left.` : "";
  }
}

interface StateWords {
  word: string;
  tone: Tone;
  help: string;
}

const SESSION_STATES: Record<SessionState, StateWords> = {
  pairing: { word: "Waiting for the phone", tone: "busy", help: "Link a phone: scan the QR code or type the pair code." },
  connected: { word: "Connected", tone: "good", help: "" },
  reconnecting: { word: "Reconnecting", tone: "warn", help: "The connection was lost. wahook connects again by itself." },
  silent: { word: "Silent", tone: "warn", help: "The connection stood, and nothing came. wahook connects again by itself." },
  refused: {
    word: "Refused",
    tone: "bad",
    help: "WhatsApp refused the login. wahook tries again by itself, every 15 minutes at most. Restart to try at once.",
  },
  replaced: {
    word: "Replaced",
    tone: "bad",
    help: "Another process uses the same keys. Stop that one, then restart this session.",
  },
  logged_out: {
    word: "Logged out",
    tone: "bad",
    help: "The device was unlinked on the phone or by WhatsApp. Restart, and link the phone again.",
  },
  banned: { word: "Banned", tone: "bad", help: "WhatsApp has banned the account. Wait as long as it says, then restart." },
  keys_outdated: {
    word: "Keys outdated",
    tone: "bad",
    help: "The stored keys are older than those it used last. Restore them, or delete the session and link the phone again.",
  },
  outdated: {
    word: "Outdated",
    tone: "bad",
    help: "WhatsApp refuses this version. Restart. If whatsapp.version is set, have it unset.",
  },
};

/** A node of a later version may know more states than this page. */
export function sessionState(state: string): StateWords {
  return (SESSION_STATES as Record<string, StateWords>)[state] ?? { word: state, tone: "warn", help: "" };
}

/** Whether a restart is what a session needs. */
export function needsRestart(session: Session): boolean {
  return ["replaced", "logged_out", "banned", "keys_outdated", "outdated", "refused"].includes(session.state) || isUnlinked(session);
}

/** Whether the codes of this round are used up. */
function isUnlinked(session: Session): boolean {
  return session.state === "pairing" && session.code_expires_at === null && session.reason !== null;
}

const OUTCOMES: Record<string, string> = {
  ok: "Delivered",
  http_3xx: "The endpoint answered with a redirect. Redirects are not followed: register the address that it leads to.",
  http_4xx: "The endpoint refused the message. It is not tried again.",
  gone: "The endpoint answered 410 Gone. The webhook is disabled.",
  rate_limited: "The endpoint asked for fewer requests.",
  try_again: "The endpoint asked to try again.",
  http_5xx: "The endpoint failed.",
  timeout: "No whole answer came in time. The endpoint should answer first and work afterwards.",
  connect: "No connection: the endpoint is down, or nothing can be reached at this address.",
  dns: "The host name has no address.",
  tls: "The TLS handshake failed. Look at the endpoint's certificate.",
  reset: "The connection broke before the answer was whole.",
  blocked: "The address is not public, so wahook does not call it.",
  protocol: "The answer was not HTTP.",
  held: "Held: the webhook takes no deliveries. Activate it to send this.",
  webhook_gone: "The webhook was deleted, or does not take this type any more.",
  abandoned: "wahook gave this up.",
};

export function outcomeWords(attempt: Attempt): string {
  return OUTCOMES[attempt.outcome] ?? attempt.outcome;
}

/** What an error says beyond the status that stands beside it. */
export function beyondStatus(error: string | null, status: number | null): string {
  return error === `the endpoint answered ${status ?? ""}` ? "" : (error ?? "");
}

export const EVENT_STATUS: Record<string, { word: string; tone: Tone }> = {
  delivered: { word: "Delivered", tone: "good" },
  failed: { word: "Given up", tone: "bad" },
  pending: { word: "Waiting", tone: "warn" },
  sent: { word: "No answer", tone: "warn" },
};

export const REPLAY_STATE: Record<string, { word: string; tone: Tone }> = {
  queued: { word: "Queued", tone: "calm" },
  counting: { word: "Counting", tone: "busy" },
  running: { word: "Running", tone: "busy" },
  done: { word: "Done", tone: "good" },
  cancelled: { word: "Cancelled", tone: "calm" },
  failed: { word: "Failed", tone: "bad" },
};

const NUMBER = new Intl.NumberFormat("en");

export const figure = (value: number): string => NUMBER.format(value);

export function count(value: number, one: string, many: string): string {
  return `${figure(value)} ${value === 1 ? one : many}`;
}

export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size >= 10 || unit === 0 ? Math.round(size) : size.toFixed(1)} ${units[unit] ?? ""}`;
}

const STEPS: [number, string, number][] = [
  [60, "s", 1],
  [3600, "min", 60],
  [86_400, "h", 3600],
  [Infinity, "d", 86_400],
];

/** A time as people say it: "5 s ago", "in 2 min". */
export function ago(iso: string, now: number): string {
  const seconds = Math.round((now - Date.parse(iso)) / 1000);
  const size = Math.abs(seconds);
  if (size < 2) return "now";
  const [, unit, length] = STEPS.find(([below]) => size < below) ?? [0, "d", 86_400];
  const text = `${Math.round(size / length)} ${unit}`;
  return seconds < 0 ? `in ${text}` : `${text} ago`;
}

export function span(seconds: number): string {
  const parts: string[] = [];
  let left = seconds;
  for (const [length, unit] of [[86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]] as const) {
    const whole = Math.floor(left / length);
    if (whole > 0) parts.push(`${whole} ${unit}`);
    left -= whole * length;
  }
  return parts.slice(0, 2).join(" ") || "0 s";
}

const STAMP = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});

export const stamp = (iso: string): string => STAMP.format(new Date(iso));

/** A number as people read it: +4915112345678. */
export const phone = (digits: string | null): string => (digits ? `+${digits}` : "–");
