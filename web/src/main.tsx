import "./style.css";

import { render, type JSX } from "preact";
import { useEffect } from "preact/hooks";

import { keepTime } from "./lib/live";
import { followLocation, place } from "./lib/route";
import { findOut, who } from "./lib/who";
import { Empty } from "./parts/basics";
import { Frame } from "./parts/frame";
import { DeadLetters } from "./screens/dead-letters";
import { EventScreen } from "./screens/event";
import { Overview } from "./screens/overview";
import { ReplayScreen, Replays } from "./screens/replays";
import { SessionScreen } from "./screens/session";
import { Sessions } from "./screens/sessions";
import { SignIn } from "./screens/sign-in";
import { UsageScreen } from "./screens/usage";
import { WebhookScreen } from "./screens/webhook";
import { Webhooks } from "./screens/webhooks";

function Screen(): JSX.Element {
  const [screen, id, part] = place.value.path;
  switch (screen) {
    case undefined:
      return <Overview />;
    case "webhooks":
      return id ? <WebhookScreen key={id} id={id} part={part} /> : <Webhooks />;
    case "events":
      return id ? <EventScreen key={id} id={id} /> : <Unknown />;
    case "dead-letters":
      return <DeadLetters />;
    case "replays":
      return id ? <ReplayScreen key={id} id={id} /> : <Replays />;
    case "sessions":
      return id ? <SessionScreen key={id} id={id} /> : <Sessions />;
    case "usage":
      return <UsageScreen />;
    default:
      return <Unknown />;
  }
}

function Unknown(): JSX.Element {
  return (
    <Empty title="There is no such page">
      <p>
        <a href="#/">Go to the overview</a>
      </p>
    </Empty>
  );
}

function App(): JSX.Element | null {
  const here = place.value.path.join("/");
  // A new screen begins at its top, for eyes and for screen readers.
  useEffect(() => {
    window.scrollTo(0, 0);
  }, [here]);
  const state = who.value;
  switch (state.state) {
    case "asking":
      return null;
    case "unreachable":
      return (
        <main class="alone">
          <h1>wahook does not answer</h1>
          <p role="status">The page tries again by itself every few seconds.</p>
        </main>
      );
    case "nobody":
      return <SignIn note={state.note} />;
    case "somebody":
      return (
        <Frame session={state.session}>
          <Screen />
        </Frame>
      );
  }
}

followLocation();
keepTime();
findOut();
const root = document.getElementById("app");
if (root) render(<App />, root);
