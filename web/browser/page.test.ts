// The page in a real browser, against the real executable. The steps follow each other, as a person would do them.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";

import { startBrowser, Visitor } from "./visitor";
import { eventually, World } from "./world";

const LINKED = "4915110000000";
const SOMEBODY = "4915199999999";
const LETTERS = 30;

let world: World;
let browser: Browser;
let ann: Visitor;
let annsToken: string;
let annsWebhook: string;

beforeAll(async () => {
  world = await World.start();
  browser = await startBrowser();
  annsToken = await world.token(1, "Ann");
  ann = await Visitor.at(browser, world.page);
});

afterAll(async () => {
  // Either may be missing when the beginning failed.
  await (browser as Browser | undefined)?.close();
  await (world as World | undefined)?.stop();
});

const write = (text: string): Promise<void> => world.phone("/messages", { to: LINKED, from: SOMEBODY, name: "Somebody", text });

async function openNewest(): Promise<void> {
  await ann.goTo(`#/webhooks/${annsWebhook}`);
  await ann.page.locator("tbody a").first().click();
}

it("tells a wrong token, and signs in with a right one by the keyboard alone", async () => {
  await ann.sawHeading("Sign in to wahook");
  await ann.looksAt("sign-in");
  await ann.page.getByLabel("Token").fill("wahook_wrong");
  await ann.page.keyboard.press("Enter");
  await ann.sees("There is no such token");
  await ann.signIn(annsToken);
  await ann.sees("Three steps to the first delivery");
  await ann.looksAt("overview-empty");
  expect(ann.bytes, "what the page weighs, compressed").toBeLessThan(200 * 1024);
  expect(ann.bytes).toBeGreaterThan(0);
  // No script can read the cookie.
  expect(await ann.page.evaluate(() => document.cookie)).toBe("");
  await ann.page.reload();
  await ann.sawHeading("Overview");
  await ann.page.keyboard.press("Tab");
  await expect.poll(() => ann.page.evaluate(() => document.activeElement?.textContent)).toContain("Skip to the content");
  await ann.page.keyboard.press("Enter");
  expect(await ann.page.evaluate(() => document.activeElement?.id)).toBe("main");
});

it("has empty states that tell the next step", async () => {
  for (const [screen, words] of [
    ["webhooks", "No webhooks yet"],
    ["dead-letters", "No dead letters"],
    ["replays", "No replays"],
    ["sessions", "No phone is linked"],
  ] as const) {
    await ann.goTo(`#/${screen}`);
    await ann.sees(words);
  }
  await ann.looksAt("sessions-empty");
});

it("links a phone with a QR code", async () => {
  await ann.button("Link a phone").click();
  await ann.looksAt("link-dialog");
  await ann.page.keyboard.press("Escape");
  await expect.poll(() => ann.page.getByRole("dialog").count()).toBe(0);
  await ann.button("Link a phone").click();
  await ann.button("Go on").click();
  await ann.page.getByAltText("QR code that links the phone").waitFor();
  await ann.sees(/Renews itself in/);
  await ann.looksAt("session-qr");
  const id = new URL(ann.page.url()).hash.split("/")[2] ?? "";
  const code = await world.api(annsToken, "GET", `/api/sessions/${id}/qr?format=raw`);
  await world.phone("/scan", { phone: LINKED, qr: code });
  await ann.sees("Connected");
  await ann.sawHeading(`+${LINKED}`);
});

it("registers a webhook, and shows the secret once", async () => {
  await ann.link("register a webhook").click();
  await ann.page.getByLabel("Phone number").fill("12");
  await ann.page.getByLabel("Address").fill(world.receiver.url);
  await ann.button("Register").click();
  // The field that is wrong says so itself.
  await ann.page.locator("[aria-invalid]").waitFor();
  await ann.looksAt("register-wrong");
  await ann.page.getByLabel("Phone number").fill(`+49 151 ${LINKED.slice(5)}`);
  await ann.button("Register").click();
  await ann.sees("It is shown only now");
  expect(await ann.page.locator(".secret code").textContent()).toMatch(/^whsec_/);
  await ann.button("Go to the webhook").click();
  await ann.sawHeading(`+${LINKED}`);
  annsWebhook = new URL(ann.page.url()).hash.split("/")[2] ?? "";
  await ann.sees("Nothing was delivered yet");
});

it("shows a message arrive, without being asked", async () => {
  await write("Hello! Is the shop open on Sunday?");
  await ann.link(/^text from/).waitFor();
  await ann.page.locator("tbody").getByText("Delivered").waitFor();
  expect(world.receiver.bodies.some((body) => body.includes("Is the shop open"))).toBe(true);
});

it("tells why a delivery failed, and tries it again", async () => {
  world.receiver.status = 422;
  world.receiver.answer = '{"error": "unknown customer", "hint": "the CRM has no record of this number"}';
  await write("And on Monday?");
  await ann.page.locator("tbody").getByText("Given up").waitFor();
  await ann.sees("Failing");
  await ann.looksAt("webhook");
  await openNewest();
  await ann.sees("HTTP 422");
  await ann.sees("The endpoint refused the message");
  // What somebody wrote is not there before it is asked for.
  expect(await ann.page.content()).not.toContain("And on Monday?");
  await ann.button("Show the message").click();
  await ann.sees("And on Monday?");
  await ann.page.getByText("What the endpoint answered").click();
  await ann.sees("the CRM has no record of this number");
  await ann.looksAt("event");
  world.receiver.status = 204;
  world.receiver.answer = "";
  await ann.button("Try again now").click();
  await ann.page.locator(".lead").getByText("Delivered", { exact: true }).waitFor();
  await ann.sees("Attempt 2");
});

it("holds deliveries while paused, and sends them when active", async () => {
  await ann.goTo(`#/webhooks/${annsWebhook}`);
  await ann.button("Pause").click();
  await ann.sees("You paused this webhook");
  const before = world.receiver.bodies.length;
  await write("Are you there?");
  await ann.sees("1 delivery is held");
  await ann.looksAt("webhook-paused");
  expect(world.receiver.bodies.length).toBe(before);
  await ann.button("Activate").click();
  await eventually("it is sent", () => world.receiver.bodies.length > before);
  await ann.page.locator(".lead").getByText("Active").waitFor();
});

it("rotates the secret", async () => {
  await ann.button("Rotate secret …").click();
  await ann.looksAt("rotate");
  await ann.button("Rotate").click();
  await ann.sees("It is shown only now");
  expect(await ann.page.locator(".secret code").textContent()).toMatch(/^whsec_/);
  await ann.button("I have stored it").click();
});

it("sends a test and shows its delivery", async () => {
  await ann.button("Send a test").click();
  await ann.sawHeading("Test message");
  await ann.page.locator(".lead").getByText("Delivered", { exact: true }).waitFor();
});

it("changes settings, and names a field that is wrong", async () => {
  await ann.goTo(`#/webhooks/${annsWebhook}/settings`);
  await ann.page.getByLabel("Requests per second").fill("0");
  await ann.button("Save").click();
  await ann.page.locator("[aria-invalid]").waitFor();
  await ann.page.getByLabel("Requests per second").fill("40");
  await ann.page.getByLabel("Retry schedule").fill("1, 60, 3600");
  await ann.sees("after 1 s, then 1 min, then 1 h");
  await ann.button("Save").click();
  await ann.sees("Saved.");
  await ann.looksAt("settings");
  const webhook = (await world.api(annsToken, "GET", `/api/webhooks/${annsWebhook}`)) as Record<string, unknown>;
  expect([webhook["rate_per_second"], webhook["retry_schedule"]]).toEqual([40, [1, 60, 3600]]);
  await world.api(annsToken, "PATCH", `/api/webhooks/${annsWebhook}`, { retry_schedule: [] });
});

it("replays all dead letters that match", async () => {
  world.receiver.status = 400;
  world.receiver.answer = "no such customer";
  for (let number = 0; number < LETTERS; number += 1) {
    await world.api(annsToken, "POST", "/api/messages", { phone_number: LINKED, message_id: `LETTER${number}`, from: SOMEBODY, type: "text", content: "x" });
  }
  await ann.goTo("#/dead-letters?type=text");
  await expect.poll(() => ann.page.locator("tbody tr").count()).toBe(LETTERS);
  await ann.looksAt("dead-letters");
  world.receiver.status = 204;
  await ann.page.getByRole("button", { name: /^Try again: / }).first().click();
  await expect.poll(() => ann.page.locator("tbody tr").count()).toBe(LETTERS - 1);
  await ann.button("Replay all that match …").click();
  await ann.sees(`${LETTERS - 1} events match.`);
  await ann.looksAt("replay-dialog");
  await ann.button(`Replay ${LETTERS - 1} events`).click();
  await ann.sawHeading("Replay");
  await ann.page.locator(".lead").getByText("Done").waitFor();
  await ann.sees(`${LETTERS - 1} of ${LETTERS - 1}`);
  await ann.looksAt("replay");
  await ann.goTo("#/dead-letters");
  await ann.sees("No dead letters");
});

it("draws the figures of a webhook", async () => {
  await ann.goTo(`#/webhooks/${annsWebhook}/statistics`);
  await ann.page.locator("canvas").first().waitFor();
  await ann.looksAt("statistics");
  await ann.page.getByRole("combobox", { name: "Time" }).selectOption("7d");
  expect(ann.page.url()).toContain("span=7d");
});

it("finds webhooks, and keeps the search in the address", async () => {
  const number = "4915120000001";
  const long = `${world.receiver.url}/${"a-long-path-that-nobody-would-type-by-hand/".repeat(4)}`;
  await world.api(annsToken, "POST", "/api/webhooks/register", { phone_number: number, webhook_url: long });
  await ann.goTo("#/webhooks");
  await ann.link(`+${number}`).waitFor();
  await ann.looksAt("webhooks");
  await ann.page.getByLabel("Search").fill("+4915120");
  await ann.sees("1 of 2 found");
  await ann.page.reload();
  await ann.sees("1 of 2 found");
  await ann.page.getByLabel("Search").fill("nothing like it");
  await ann.sees("Nothing fits");
});

it("shows the session, what needs somebody, and the quotas", async () => {
  await ann.goTo("#/sessions");
  await ann.looksAt("sessions");
  await ann.link(`+${LINKED}`).click();
  await ann.page.getByLabel("To", { exact: true }).fill(SOMEBODY);
  await ann.page.getByLabel("Text", { exact: true }).fill("We are open.");
  await ann.button("Send").click();
  await ann.sees(/Sent as 3EB0/);
  await ann.looksAt("session");
  await ann.goTo("#/usage");
  await ann.sees("Waiting for delivery");
  await ann.looksAt("usage");
  await ann.goTo("#/");
  await ann.sees("Nothing: every session is connected");
  const [, second] = ((await world.api(annsToken, "GET", "/api/webhooks/list")) as { data: { id: string }[] }).data;
  await world.api(annsToken, "PATCH", `/api/webhooks/${second?.id ?? ""}`, { is_active: false });
  await world.api(annsToken, "POST", "/api/sessions", {});
  world.receiver.status = 404;
  await write("Is anybody there?");
  await ann.sees("Newest dead letters");
  await ann.sees("You paused this webhook");
  await ann.sees("Waiting for the phone");
  await ann.looksAt("overview");
});

it("keeps two clients apart", async () => {
  const bob = await Visitor.at(browser, world.page);
  await bob.signIn(await world.token(2, "Bob"));
  await bob.goTo("#/webhooks");
  await bob.sees("No webhooks yet");
  await bob.goTo(`#/webhooks/${annsWebhook}`);
  await bob.sees("There is no such thing here");
  await bob.looksAt("not-found");
  await bob.leaves();
});

it("offers only what the token may do", async () => {
  const reader = await Visitor.at(browser, world.page);
  await reader.signIn(await world.token(1, "Reader", "webhooks:read,events:read"));
  await reader.goTo(`#/webhooks/${annsWebhook}`);
  await reader.sawHeading(`+${LINKED}`);
  expect(await reader.button("Pause").count()).toBe(0);
  expect(await reader.link("Sessions").count()).toBe(0);
  await reader.leaves();
});

it("renews a QR code by itself", async () => {
  await ann.goTo("#/sessions");
  await ann.link("not linked yet").click();
  const picture = ann.page.getByAltText("QR code that links the phone");
  const first = await picture.getAttribute("src");
  await expect.poll(() => picture.getAttribute("src")).not.toBe(first);
});

it("signs out", async () => {
  await ann.button("Sign out").click();
  await ann.sees("You are signed out.");
  await ann.page.reload();
  await ann.sawHeading("Sign in to wahook");
  await ann.leaves();
});
