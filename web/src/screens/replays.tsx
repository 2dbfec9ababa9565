import type { JSX } from "preact";

import { call } from "../lib/api";
import { useAction, useLive } from "../lib/live";
import { linkTo } from "../lib/route";
import type { Replay } from "../lib/types";
import { can } from "../lib/who";
import { count, figure, REPLAY_STATE, stamp } from "../lib/words";
import { Button, Empty, Facts, Loading, Pill, Problem, Time } from "../parts/basics";
import { Title } from "../parts/frame";
import { More, useList } from "../parts/list";

const isOver = (replay: Replay): boolean => ["done", "cancelled", "failed"].includes(replay.state);

export function Replays(): JSX.Element {
  const list = useList<Replay>("/api/replays", {}, 2000);
  return (
    <>
      <Title text="Replays" />
      {!list.items && (list.error ? <Problem error={list.error} /> : <Loading what="replays" />)}
      {list.items?.length === 0 && (
        <Empty title="No replays">
          <p>
            A replay sends events once more. Start one at the <a href="#/dead-letters">dead letters</a>, or at a webhook.
          </p>
        </Empty>
      )}
      {list.items && list.items.length > 0 && (
        <table class="list">
          <thead>
            <tr>
              <th scope="col">Asked for</th>
              <th scope="col">What</th>
              <th scope="col">State</th>
              <th scope="col">Progress</th>
            </tr>
          </thead>
          <tbody>
            {list.items.map((replay) => (
              <tr key={replay.id}>
                <td data-label="Asked for">
                  <a href={linkTo(["replays", replay.id])}>
                    <Time at={replay.created_at} />
                  </a>
                </td>
                <td data-label="What">{what(replay)}</td>
                <td data-label="State">
                  <Pill tone={REPLAY_STATE[replay.state]?.tone ?? "calm"}>{REPLAY_STATE[replay.state]?.word ?? replay.state}</Pill>
                </td>
                <td data-label="Progress">
                  <Progress replay={replay} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <More list={list} />
    </>
  );
}

function what(replay: Replay): string {
  const type = replay.type ? `${replay.type} ` : "";
  const kind = replay.status === "delivered" ? "delivered before" : "given up";
  return `${type}${kind}, of ${replay.webhook_id ? "one webhook" : "all webhooks"}`;
}

function Progress({ replay }: { replay: Replay }): JSX.Element {
  if (replay.matched === null) return <span class="faint">not counted yet</span>;
  const done = replay.sent + replay.skipped;
  return (
    <div class="progress">
      <progress class="busy" value={done} max={Math.max(1, replay.matched)} aria-label="Progress" />
      <span>
        {figure(done)} of {figure(replay.matched)}
      </span>
    </div>
  );
}

export function ReplayScreen({ id }: { id: string }): JSX.Element {
  const { data: replay, error, refresh } = useLive<Replay>(`/api/replays/${encodeURIComponent(id)}`, 1000);
  const cancelling = useAction();
  const cancel = (): void => {
    cancelling.run(async () => {
      await call("POST", `/api/replays/${encodeURIComponent(id)}/cancel`);
      refresh();
    });
  };
  const state = replay && REPLAY_STATE[replay.state];
  return (
    <>
      <Title text="Replay" back={["Replays", "#/replays"]}>
        {replay && !isOver(replay) && can("events:write") && (
          <Button kind="danger" isDisabled={cancelling.isRunning} onClick={cancel}>
            {cancelling.isRunning ? "Cancelling …" : "Cancel"}
          </Button>
        )}
      </Title>
      <Problem error={cancelling.error ?? error} />
      {!replay && !error && <Loading what="the replay" />}
      {replay && (
        <section class="card">
          <p class="lead">
            <Pill tone={state?.tone ?? "calm"}>{state?.word ?? replay.state}</Pill> {what(replay)}
          </p>
          <Progress replay={replay} />
          {replay.error && <p class="notice warn">{isOver(replay) ? replay.error : `Waiting: ${replay.error}`}</p>}
          <Facts
            rows={[
              ["Sent on their way", figure(replay.sent)],
              ["Skipped", replay.skipped > 0 ? `${figure(replay.skipped)}: their webhook takes no deliveries` : "0"],
              ["Rate", `${count(replay.rate_per_second, "event", "events")} per second at most`],
              ["From", replay.since ? stamp(replay.since) : "the beginning"],
              ["Until", stamp(replay.until)],
              ["Started", <Time key="s" at={replay.started_at} none="not yet" />],
              ["Ended", <Time key="e" at={replay.ended_at} none="not yet" />],
            ]}
          />
          <p class="faint">
            Sent on their way is not arrived: see{" "}
            {replay.webhook_id ? <a href={linkTo(["webhooks", replay.webhook_id])}>the deliveries</a> : <a href="#/webhooks">the deliveries of each webhook</a>},
            and <a href="#/dead-letters">the dead letters</a> that are left.
          </p>
        </section>
      )}
    </>
  );
}
