import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";

import type { ApiError } from "../lib/api";
import { now } from "../lib/live";
import { ago, beyondStatus, stamp, type Tone } from "../lib/words";

export function Pill({ tone, children }: { tone: Tone; children: ComponentChildren }): JSX.Element {
  return <span class={`pill ${tone}`}>{children}</span>;
}

/** How long ago something was, with the exact time to point at. */
export function Time({ at, none = "–" }: { at: string | null | undefined; none?: string }): JSX.Element {
  if (!at) return <span class="faint">{none}</span>;
  return (
    <time dateTime={at} title={stamp(at)}>
      {ago(at, now.value)}
    </time>
  );
}

export function Beyond({ error, status }: { error: string | null; status: number | null }): JSX.Element | null {
  const words = beyondStatus(error, status);
  return words ? <span class="clip">{words}</span> : null;
}

/** What is wrong, in the words of the API, with the fields that it names. */
export function Problem({ error }: { error: ApiError | undefined }): JSX.Element | null {
  if (!error) return null;
  return (
    <div class="problem" role="alert">
      <strong>{error.title}</strong>
      {error.fields.length > 0 ? (
        <ul>
          {error.fields.map((field) => (
            <li key={field.pointer}>
              <code>{field.pointer.replace(/^\//, "")}</code> {field.detail}
            </li>
          ))}
        </ul>
      ) : (
        error.detail && <p>{error.detail}</p>
      )}
      {error.requestId && error.status >= 500 && <p class="faint">Request {error.requestId}</p>}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Loading({ what }: { what: string }): JSX.Element {
  return (
    <p class="loading" role="status">
      Loading {what} …
    </p>
  );
}

interface ButtonProps {
  onClick?: () => void;
  kind?: "main" | "plain" | "danger" | "small";
  isDisabled?: boolean;
  isSubmit?: boolean;
  label?: string;
  children: ComponentChildren;
}

export function Button({ onClick, kind = "plain", isDisabled = false, isSubmit = false, label, children }: ButtonProps): JSX.Element {
  return (
    <button class={`button ${kind}`} type={isSubmit ? "submit" : "button"} disabled={isDisabled} onClick={onClick} aria-label={label}>
      {children}
    </button>
  );
}

/** A window over the page. The browser keeps the focus in it, and Escape closes it. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ComponentChildren }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  return (
    <dialog ref={dialog} aria-label={title} onCancel={onClose}>
      <header>
        <h2>{title}</h2>
        <Button kind="small" label="Close" onClick={onClose}>
          ✕
        </Button>
      </header>
      {children}
    </dialog>
  );
}

/** A value to take along, like an id or a secret. */
export function Copy({ text, label }: { text: string; label: string }): JSX.Element {
  const isDone = useSignal(false);
  const copy = (): void => {
    navigator.clipboard.writeText(text).then(
      () => {
        isDone.value = true;
        window.setTimeout(() => (isDone.value = false), 2000);
      },
      () => undefined,
    );
  };
  // Browsers give a clipboard to pages over TLS and on this machine alone.
  const canCopy = globalThis.isSecureContext;
  return (
    <span class="copy">
      <code>{text}</code>
      {canCopy && (
        <Button kind="small" label={`Copy ${label}`} onClick={copy}>
          {isDone.value ? "Copied" : "Copy"}
        </Button>
      )}
    </span>
  );
}

interface FieldProps {
  label: string;
  hint?: ComponentChildren;
  error?: string | undefined;
  children: (props: { id: string; "aria-describedby"?: string; "aria-invalid"?: boolean }) => JSX.Element;
}

export function Field({ label, hint, error, children }: FieldProps): JSX.Element {
  const id = `field-${label.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  const notes = hint || error ? { "aria-describedby": `${id}-note` } : {};
  const wrong = error ? { "aria-invalid": true } : {};
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, ...notes, ...wrong })}
      {(hint ?? error) !== undefined && (
        <p class={error ? "hint wrong" : "hint"} id={`${id}-note`}>
          {error ?? hint}
        </p>
      )}
    </div>
  );
}

export function Facts({ rows }: { rows: [string, ComponentChildren][] }): JSX.Element {
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Meter({ label, used, max, words }: { label: string; used: number; max: number; words: string }): JSX.Element {
  const share = max > 0 ? Math.min(1, used / max) : 0;
  const tone = share > 0.9 ? "bad" : share > 0.7 ? "warn" : "good";
  return (
    <div class="meter">
      <div class="meter-words">
        <span>{label}</span>
        <span>{words}</span>
      </div>
      <progress class={tone} value={share} max={1} aria-label={label} />
    </div>
  );
}
