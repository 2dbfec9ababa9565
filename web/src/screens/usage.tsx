import type { JSX } from "preact";

import { useLive } from "../lib/live";
import type { Usage } from "../lib/types";
import { bytes, figure } from "../lib/words";
import { Loading, Meter, Problem } from "../parts/basics";
import { Title } from "../parts/frame";

export function UsageScreen(): JSX.Element {
  const { data: usage, error } = useLive<Usage>("/api/usage", 3000);
  return (
    <>
      <Title text="Usage" />
      <Problem error={error} />
      {!usage && !error && <Loading what="usage" />}
      {usage && <Shares usage={usage} />}
    </>
  );
}

function Shares({ usage }: { usage: Usage }): JSX.Element {
  const { waiting_bytes: waiting, dead_letter_bytes: dead, webhooks } = usage;
  return (
    <section class="card usage">
      <Meter label="Waiting for delivery" used={waiting.used} max={waiting.max} words={`${bytes(waiting.used)} of ${bytes(waiting.max)}`} />
      <p class="hint">
        New, parked and held messages. When it is full, publishing is refused and WhatsApp keeps messages for its sessions, until endpoints take what
        waits.
      </p>
      <Meter label="Dead letters in the stream" used={dead.used} max={dead.max} words={`${bytes(dead.used)} of ${bytes(dead.max)}`} />
      <p class="hint">Beyond it further ones are stored in the stream without their body. The audit keeps all of them.</p>
      <Meter label="Webhooks" used={webhooks.used} max={webhooks.max} words={`${figure(webhooks.used)} of ${figure(webhooks.max)}`} />
      <p class="hint">One for each number. Delete those that are not needed, or ask the operator of wahook for more.</p>
      <p>
        You may publish <strong>{figure(usage.messages_per_second)}</strong> messages per second to each node.
      </p>
    </section>
  );
}
