// What the API answers: docs/api.md.

export interface Page<T> {
  data: T[];
  next_cursor: string | null;
  has_more: boolean;
}

export type Scope =
  | "webhooks:read"
  | "webhooks:write"
  | "events:read"
  | "events:write"
  | "messages:write"
  | "messages:send"
  | "sessions:read"
  | "sessions:write";

export interface SignedIn {
  client_id: number;
  name: string;
  scopes: Scope[];
  token_expires_at: string | null;
}

export type WebhookStatus = "active" | "failed" | "paused" | "disabled";

export interface Webhook {
  id: string;
  client_id: number;
  phone_number: string | null;
  webhook_url: string;
  is_active: boolean;
  status: WebhookStatus;
  disabled_reason: "gone" | "failing" | null;
  failure_count: number | null;
  held_count: number | null;
  max_retries: number;
  rate_per_second: number;
  burst: number;
  in_flight: number;
  retry_schedule: number[];
  ordering: "none" | "chat";
  failing_since: string | null;
  event_types: ("message" | "receipt")[];
  format: "native" | "waha" | "evolution" | "cloud";
  signature: "hmac" | "ed25519" | "both";
  public_keys: string[] | null;
  headers: Record<string, string>;
  signing_secret_hint: string | null;
  signing_secret?: string;
  last_error: string | null;
  last_success_at: string | null;
  last_attempt_at: string | null;
  created_at: string;
  updated_at: string;
}

export type EventStatus = "pending" | "sent" | "delivered" | "failed";

export interface Attempt {
  number: number;
  status: EventStatus;
  outcome: string;
  http_status: number | null;
  response: string | null;
  error: string | null;
  started_at: string;
  latency_ms: number;
  next_retry_at: string | null;
}

export interface WebhookEvent {
  id: string;
  webhook_id: string;
  webhook_id_header: string;
  message_id: string;
  from: string | null;
  to: string | null;
  message_type: string;
  content?: string | null;
  payload?: unknown;
  status: EventStatus;
  attempt_count: number;
  http_status: number | null;
  response: string | null;
  error: string | null;
  next_retry_at: string | null;
  created_at: string;
  delivered_at: string | null;
  attempts?: Attempt[];
}

export interface DeadLetter extends WebhookEvent {
  reason: string;
  given_up_at: string;
}

export interface Hour {
  hour: string;
  attempts: number;
  delivered: number;
  failed: number;
  latency_mean_ms: number;
  latency_max_ms: number;
  body_bytes: number;
}

export type ReplayState = "queued" | "counting" | "running" | "done" | "cancelled" | "failed";

export interface Replay {
  id: string;
  state: ReplayState;
  webhook_id: string | null;
  status: string;
  type: string | null;
  since: string | null;
  until: string;
  rate_per_second: number;
  matched: number | null;
  sent: number;
  skipped: number;
  error: string | null;
  created_at: string;
  started_at: string | null;
  ended_at: string | null;
}

export interface DryRun {
  matched: number;
  is_complete: boolean;
}

export type SessionState =
  | "pairing"
  | "connected"
  | "reconnecting"
  | "silent"
  | "refused"
  | "replaced"
  | "logged_out"
  | "banned"
  | "keys_outdated"
  | "outdated";

export interface Session {
  id: string;
  client_id: number;
  phone_number: string | null;
  method: "qr" | "code";
  own_messages: boolean;
  state: SessionState;
  reason: string | null;
  code_expires_at: string | null;
  last_message_at: string | null;
  created_at: string;
  updated_at: string;
}

export interface Usage {
  waiting_bytes: { used: number; max: number };
  dead_letter_bytes: { used: number; max: number };
  messages_per_second: number;
  webhooks: { used: number; max: number };
}
