// What surrounds every screen: navigation, and who is signed in.

import type { ComponentChildren, JSX } from "preact";

import { useAction } from "../lib/live";
import { linkTo, place } from "../lib/route";
import type { Scope, SignedIn } from "../lib/types";
import { can, signOut } from "../lib/who";
import { Button, Problem } from "./basics";

const SCREENS: { path: string; word: string; scope: Scope }[] = [
  { path: "webhooks", word: "Webhooks", scope: "webhooks:read" },
  { path: "dead-letters", word: "Dead letters", scope: "events:read" },
  { path: "replays", word: "Replays", scope: "events:read" },
  { path: "sessions", word: "Sessions", scope: "sessions:read" },
  { path: "usage", word: "Usage", scope: "webhooks:read" },
];

export function Frame({ session, children }: { session: SignedIn; children: ComponentChildren }): JSX.Element {
  const leaving = useAction();
  const here = place.value.path[0] ?? "";
  const link = (path: string, word: string): JSX.Element => (
    <a href={linkTo(path ? [path] : [])} aria-current={here === path ? "page" : undefined}>
      {word}
    </a>
  );
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={skip}>
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href="#/">
          <img src="./page/icon.svg" alt="" width={28} height={28} />
          wahook
        </a>
        <nav aria-label="Screens">
          {link("", "Overview")}
          {SCREENS.filter((screen) => can(screen.scope)).map((screen) => (
            <span key={screen.path}>{link(screen.path, screen.word)}</span>
          ))}
        </nav>
        <div class="who">
          <span class="who-name" title={session.scopes.join(", ")}>
            Client {session.client_id}
            {session.name && <span class="faint"> · {session.name}</span>}
          </span>
          <Button kind="small" isDisabled={leaving.isRunning} onClick={() => leaving.run(signOut)}>
            Sign out
          </Button>
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        <Problem error={leaving.error} />
        {children}
      </main>
    </div>
  );
}

/** A real link would change the place. */
function skip(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

export function Title({ text, back, children }: { text: string; back?: [string, string]; children?: ComponentChildren }): JSX.Element {
  document.title = `${text} · wahook`;
  return (
    <div class="title">
      <div>
        {back && (
          <a class="back" href={back[1]}>
            ← {back[0]}
          </a>
        )}
        <h1>{text}</h1>
      </div>
      {children && <div class="actions">{children}</div>}
    </div>
  );
}
