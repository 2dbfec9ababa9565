// A person with a browser, who notices what must not happen: requests elsewhere, errors, and what axe finds.

import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

import { chromium, type Browser, type BrowserContext, type Locator, type Page, type Route } from "playwright-core";
import { expect } from "vitest";

import { PATIENCE_MS } from "./world";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const ROOT = resolve(import.meta.dirname, "../..");
/** For those who look at the screens, or into a failure. */
const PICTURES = join(ROOT, "target/page-test");
/** What the documents show: made again when asked for. */
const SHOWN = ["overview", "webhook", "event", "replay-dialog", "session-qr", "statistics-dark", "webhook-phone-dark"];

/** A folder with the built page, in place of the one in the executable. */
const FILES = process.env["PAGE_FILES"];

export async function startBrowser(): Promise<Browser> {
  const executablePath = process.env["CHROMIUM"];
  if (!executablePath) throw new Error("CHROMIUM names no browser: run make page-test");
  // The sandbox needs rights that root in a container does not have. Only pages of this machine are shown.
  return chromium.launch({ executablePath, args: ["--no-sandbox"] });
}

/** The same answer with a file of this folder, so that a change of the page can be tried without compiling. */
async function fromFolder(route: Route, folder: string): Promise<void> {
  const name = new URL(route.request().url()).pathname.replace("/page/", "").replace(/^\/$/, "index.html");
  const response = await route.fetch({ headers: { ...route.request().headers(), "accept-encoding": "identity" } });
  await route.fulfill({ response, body: readFileSync(join(folder, name)) });
}

interface AxeResult {
  violations: { id: string; help: string; nodes: { target: unknown; failureSummary?: string }[] }[];
}

const WIDE = { width: 1280, height: 860 };
const PHONE = { width: 390, height: 844 };

export class Visitor {
  readonly requests: string[] = [];
  readonly wrong: string[] = [];
  bytes = 0;

  private constructor(
    readonly page: Page,
    private readonly context: BrowserContext,
    private readonly address: string,
  ) {}

  static async at(browser: Browser, address: string): Promise<Visitor> {
    const context = await browser.newContext({ viewport: WIDE, colorScheme: "light", locale: "en", deviceScaleFactor: 1 });
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    if (FILES) await page.route((url) => url.pathname === "/" || url.pathname.startsWith("/page/"), (route) => fromFolder(route, FILES));
    const visitor = new Visitor(page, context, address);
    page.on("request", (request) => visitor.requests.push(request.url()));
    page.on("pageerror", (error) => visitor.wrong.push(String(error)));
    page.on("console", (message) => {
      // Browsers write a line for each answer of 4xx. The page shows these to its reader.
      const isAnswer = message.text().startsWith("Failed to load resource");
      if (message.type() === "error" && !isAnswer) visitor.wrong.push(message.text());
    });
    page.on("requestfinished", (request) => {
      if (!request.url().includes("/api/")) void request.sizes().then((sizes) => (visitor.bytes += sizes.responseBodySize), () => undefined);
    });
    await page.goto(address);
    return visitor;
  }

  button(name: string | RegExp): Locator {
    return this.page.getByRole("button", { name, exact: typeof name === "string" });
  }

  link(name: string | RegExp): Locator {
    return this.page.getByRole("link", { name, exact: typeof name === "string" });
  }

  async sees(text: string | RegExp): Promise<void> {
    await this.page.getByText(text).first().waitFor();
  }

  async sawHeading(name: string | RegExp): Promise<void> {
    await this.page.getByRole("heading", { name, level: 1 }).waitFor();
  }

  async signIn(token: string): Promise<void> {
    await this.page.getByLabel("Token").fill(token);
    await this.page.keyboard.press("Enter");
    await this.sawHeading("Overview");
  }

  async goTo(hash: string): Promise<void> {
    await this.page.goto(`${this.address}${hash}`);
  }

  /** Looks at the screen in light and dark, wide and narrow: axe finds nothing, and nothing sticks out at the side. */
  async looksAt(name: string): Promise<void> {
    mkdirSync(PICTURES, { recursive: true });
    for (const [suffix, viewport, colorScheme] of [
      ["", WIDE, "light"],
      ["-dark", WIDE, "dark"],
      ["-phone", PHONE, "light"],
      ["-phone-dark", PHONE, "dark"],
    ] as const) {
      await this.page.setViewportSize(viewport);
      await this.page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await this.picture(`${name}${suffix}`);
      expect(await this.violations(), `${name}${suffix}`).toEqual([]);
      const over = await this.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      expect(over, `${name}${suffix} is wider than the window`).toBeLessThanOrEqual(0);
    }
    await this.page.setViewportSize(WIDE);
    await this.page.emulateMedia({ colorScheme: "light" });
  }

  private async picture(name: string): Promise<void> {
    await this.page.evaluate(() => window.scrollTo(0, 0));
    const path = join(PICTURES, `${name}.png`);
    // A dialog covers the window, and not what is below it.
    const fullPage = (await this.page.getByRole("dialog").count()) === 0;
    await this.page.screenshot({ path, fullPage, animations: "disabled" });
    if (process.env["PAGE_IMAGES"] && SHOWN.includes(name)) copyFileSync(path, join(ROOT, "docs/images", `page-${name}.png`));
  }

  private async violations(): Promise<unknown[]> {
    // By the protocol of the developer tools, which the page's policy does not bind.
    const result = await this.page.evaluate<AxeResult>(`${AXE}; axe.run(document, { resultTypes: ["violations"] })`);
    return result.violations.map((found) => ({ id: found.id, help: found.help, nodes: found.nodes.map((node) => [node.target, node.failureSummary]) }));
  }

  /** What must hold for everything that was done. */
  async leaves(): Promise<void> {
    const elsewhere = this.requests.filter((url) => !url.startsWith(this.address) && !url.startsWith(`blob:${this.address}`));
    expect(elsewhere, "requests elsewhere").toEqual([]);
    expect(this.wrong, "errors of the page").toEqual([]);
    await this.context.close();
  }
}
