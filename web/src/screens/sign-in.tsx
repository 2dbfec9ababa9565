import { useSignal } from "@preact/signals";
import type { JSX } from "preact";

import { useAction } from "../lib/live";
import { signIn } from "../lib/who";
import { Button, Field, Problem } from "../parts/basics";

export function SignIn({ note }: { note: string }): JSX.Element {
  const token = useSignal("");
  const entering = useAction();
  const submit = (event: Event): void => {
    event.preventDefault();
    entering.run(() => signIn(token.value.trim()));
  };
  const isWrong = entering.error?.status === 401;
  document.title = "Sign in · wahook";
  return (
    <main class="alone">
      <form class="card sign-in" onSubmit={submit}>
        <img src="./page/icon.svg" alt="" width={48} height={48} />
        <h1>Sign in to wahook</h1>
        {note && <p role="status">{note}</p>}
        <Field
          label="Token"
          hint="It begins with wahook_ and belongs to one client."
          error={isWrong ? "There is no such token, or it has expired or was revoked." : undefined}
        >
          {(props) => (
            <input
              {...props}
              type="password"
              autoComplete="current-password"
              required
              spellcheck={false}
              value={token.value}
              onInput={(event) => (token.value = event.currentTarget.value)}
            />
          )}
        </Field>
        {!isWrong && <Problem error={entering.error} />}
        <Button kind="main" isSubmit isDisabled={entering.isRunning}>
          {entering.isRunning ? "Signing in …" : "Sign in"}
        </Button>
        <details>
          <summary>Where do I get a token?</summary>
          <p>From the operator of wahook, or on its machine:</p>
          <pre>wahook token create --client 1 --name me</pre>
          <p>The page may do what the token may. Signing out, or 12 hours, ends it.</p>
        </details>
      </form>
    </main>
  );
}
