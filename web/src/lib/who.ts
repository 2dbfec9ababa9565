// Who is signed in, and what the token may do.

import { signal } from "@preact/signals";

import { ApiError, call, get, onSignedOut } from "./api";
import type { Scope, SignedIn } from "./types";

export type Who =
  | { state: "asking" }
  | { state: "nobody"; note: string }
  | { state: "unreachable" }
  | { state: "somebody"; session: SignedIn };

export const who = signal<Who>({ state: "asking" });

export function can(scope: Scope): boolean {
  return who.value.state === "somebody" && who.value.session.scopes.includes(scope);
}

const RETRY_MS = 3000;

export function findOut(): void {
  onSignedOut(() => {
    const note = who.peek().state === "somebody" ? "You were signed out. Sign in again to go on." : "";
    who.value = { state: "nobody", note };
  });
  const ask = (): void => {
    get<SignedIn>("/api/page/session").then(
      (session) => {
        who.value = { state: "somebody", session };
      },
      (error: unknown) => {
        if (error instanceof ApiError && error.status === 401) return;
        who.value = { state: "unreachable" };
        window.setTimeout(ask, RETRY_MS);
      },
    );
  };
  ask();
}

export async function signIn(token: string): Promise<void> {
  const session = await call<SignedIn>("POST", "/api/page/session", { body: { token } });
  who.value = { state: "somebody", session };
}

export async function signOut(): Promise<void> {
  await call("DELETE", "/api/page/session");
  who.value = { state: "nobody", note: "You are signed out." };
}
