// The one way to the API. It knows the cookie's header, problems, and what a lost sign-in means.

export interface FieldProblem {
  pointer: string;
  detail: string;
}

/** What the API says when something is wrong, or what the page says when no answer came. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly title: string,
    readonly detail: string,
    readonly fields: FieldProblem[] = [],
    readonly requestId = "",
  ) {
    super(detail || title);
  }
}

let whenSignedOut: () => void = () => undefined;

/** Calls this when an answer says that nobody is signed in any more. */
export function onSignedOut(callback: () => void): void {
  whenSignedOut = callback;
}

const TIMEOUT_MS = 20_000;

async function problemOf(answer: Response): Promise<ApiError> {
  const fallback = new ApiError(answer.status, "unknown", `The server answered ${answer.status}`, "");
  try {
    const body = (await answer.json()) as Record<string, unknown>;
    const text = (name: string) => (typeof body[name] === "string" ? body[name] : "");
    return new ApiError(
      answer.status,
      text("code"),
      text("title"),
      text("detail"),
      Array.isArray(body["errors"]) ? (body["errors"] as FieldProblem[]) : [],
      text("request_id"),
    );
  } catch {
    return fallback;
  }
}

export interface Options {
  body?: unknown;
  signal?: AbortSignal | undefined;
  headers?: Record<string, string>;
}

export async function send(method: string, path: string, options: Options = {}): Promise<Response> {
  const headers: Record<string, string> = { "x-wahook-page": "1", ...options.headers };
  const init: RequestInit = { method, headers, cache: "no-store", redirect: "error" };
  if (options.body !== undefined) {
    headers["content-type"] = "application/json";
    init.body = JSON.stringify(options.body);
  }
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  init.signal = options.signal ? AbortSignal.any([timeout, options.signal]) : timeout;
  let answer: Response;
  try {
    answer = await fetch(`.${path}`, init);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    const words = "Check the connection. The page tries again by itself where it can.";
    throw new ApiError(0, "unreachable", "wahook does not answer", words);
  }
  if (answer.ok) return answer;
  const problem = await problemOf(answer);
  if (problem.status === 401 && !(method === "POST" && path === "/api/page/session")) whenSignedOut();
  throw problem;
}

export async function call<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const answer = await send(method, path, options);
  if (answer.status === 204) return undefined as T;
  return (await answer.json()) as T;
}

export const get = <T>(path: string, signal?: AbortSignal): Promise<T> => call<T>("GET", path, { signal });

/** A path with those parameters that have a value. */
export function withQuery(path: string, parameters: Record<string, string | number | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}
