// Everything that the page needs, as real processes: the stand-in WhatsApp server, `wahook dev` and an endpoint.

import { execFile, spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const ROOT = resolve(import.meta.dirname, "../..");
const from = (name: string, path: string): string => process.env[name] ?? join(ROOT, path);
const WAHOOK = from("WAHOOK_BIN", "target/debug/wahook");
const WHATSAPP = from("WHATSAPP_SIM_BIN", "target/debug/whatsapp-sim");
/** For machines that do much else at the same time. */
export const PATIENCE_MS = 90_000;

export async function eventually<T>(what: string, ask: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** Below the range from which the kernel takes ports for connections. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const isTaken = await new Promise<boolean>((done) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("connect", () => {
        socket.destroy();
        done(true);
      });
      socket.once("error", () => done(false));
    });
    if (!isTaken) return port;
  }
}

/** An endpoint that answers what it is told to. */
export class Receiver {
  status = 204;
  answer = "";
  readonly bodies: string[] = [];
  private constructor(private readonly server: Server) {}

  static async start(): Promise<Receiver> {
    const server = createServer();
    const receiver = new Receiver(server);
    server.on("request", (request, response) => {
      let body = "";
      request.setEncoding("utf8");
      request.on("data", (part: string) => (body += part));
      request.on("end", () => {
        receiver.bodies.push(body);
        response.writeHead(receiver.status).end(receiver.answer);
      });
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/hook`;
  }

  stop(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}

interface StandIn {
  url: string;
  media_host: string;
  control: string;
}

export class World {
  private constructor(
    readonly page: string,
    readonly receiver: Receiver,
    private readonly control: string,
    private readonly env: NodeJS.ProcessEnv,
    private readonly processes: ChildProcess[],
    private readonly folder: string,
  ) {}

  static async start(): Promise<World> {
    const folder = mkdtempSync(join(tmpdir(), "wahook-page-"));
    const authority = join(folder, "media-ca.pem");
    const standIn = spawn(WHATSAPP, ["--ca-file", authority], { stdio: ["ignore", "pipe", "inherit"], cwd: ROOT });
    const line = await new Promise<string>((done, failed) => {
      standIn.once("error", failed);
      createInterface({ input: standIn.stdout }).once("line", done);
    });
    const where = JSON.parse(line) as StandIn;
    const api = await freePort();
    const admin = await freePort();
    const env = {
      ...process.env,
      NATS_SERVER_BIN: from("NATS_SERVER_BIN", ".tools/bin/nats-server"),
      WAHOOK__WHATSAPP__URL: where.url,
      WAHOOK__WHATSAPP__VERSION: "2.3000.1023223821",
      WAHOOK__WHATSAPP__MEDIA_HOST: where.media_host,
      WAHOOK__WHATSAPP__ROOT_CA_FILE: authority,
      WAHOOK__WHATSAPP__SESSIONS_DIR: join(folder, "sessions"),
      WAHOOK__NATS__URL: `nats://127.0.0.1:${await freePort()}`,
      WAHOOK__API__LISTEN: `127.0.0.1:${api}`,
      WAHOOK__ADMIN__LISTEN: `127.0.0.1:${admin}`,
      WAHOOK__NODE__DATA_DIR: folder,
      WAHOOK__STORE__PATH: join(folder, "hooks.db"),
      WAHOOK__EGRESS__ALLOW_HTTP: "true",
      WAHOOK__EGRESS__ALLOW_CIDRS: "127.0.0.0/8",
      WAHOOK__DELIVER__RETRY_BASE: "1s",
      WAHOOK__LOG__FILTER: "warn",
    };
    const node = spawn(WAHOOK, ["dev"], { stdio: ["ignore", "inherit", "inherit"], cwd: ROOT, env });
    const receiver = await Receiver.start();
    const world = new World(`http://127.0.0.1:${api}/`, receiver, where.control, env, [node, standIn], folder);
    try {
      await eventually("wahook is ready", async () => {
        if (node.exitCode !== null) throw new Error(`wahook ended with ${node.exitCode}`);
        const probe = await fetch(`http://127.0.0.1:${admin}/readyz`).catch(() => undefined);
        return probe?.ok;
      });
    } catch (error) {
      await world.stop();
      throw error;
    }
    return world;
  }

  async token(client: number, name: string, scopes?: string): Promise<string> {
    const further = scopes ? ["--scopes", scopes] : [];
    const words = ["token", "create", "--client", String(client), "--name", name, ...further];
    const { stdout } = await promisify(execFile)(WAHOOK, words, { env: this.env, cwd: ROOT });
    return stdout.trim().split("\n").at(-1) ?? "";
  }

  /** A request as another program makes it. */
  async api(token: string, method: string, path: string, body?: unknown): Promise<unknown> {
    const init: RequestInit = { method, headers: { authorization: `Bearer ${token}`, "content-type": "application/json" } };
    if (body !== undefined) init.body = JSON.stringify(body);
    const answer = await fetch(new URL(path, this.page), init);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text.startsWith("{") ? JSON.parse(text) : text;
  }

  /** Tells the stand-in what the phone, or somebody who writes, does. */
  async phone(path: string, body: unknown): Promise<void> {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const answer = await fetch(`${this.control}${path}`, init);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  }

  async stop(): Promise<void> {
    this.receiver.stop();
    for (const process of this.processes) {
      if (process.exitCode !== null) continue;
      const ended = new Promise((done) => process.once("exit", done));
      process.kill("SIGTERM");
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
