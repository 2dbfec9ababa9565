// The service's way in: registers webhooks and adds jobs. Each line of standard input is one command as JSON, each
// line of standard output the answer to it.
//
// {"do": "register", "webhooks": [{id, client_id, phone, url, secret}]}            → {}
// {"do": "publish", "first", "messages", "rate", "in_flight", "webhooks", "content"} → {"times": [[due, acknowledged], …]}
// {"do": "recorded", "webhook_id"} → {"message_ids": the newest that the audit has}
//
// `rate` null: as fast as Redis takes them. Otherwise each message has its time planned beforehand, and what is due goes
// out together. A message of number n goes to webhook n mod webhooks. Times are microseconds since 1970.

import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

import { Queue } from 'bullmq';

import { JOB, QUEUE, nowMicros, postgres, redis } from './settings.mjs';

/** Jobs in one pipelined call. */
const BULK = 64;

const queue = new Queue(QUEUE, { connection: redis, defaultJobOptions: JOB });
await queue.waitUntilReady();
const pool = postgres(4);
let registered = [];

async function register({ webhooks }) {
  const column = (name) => webhooks.map((webhook) => webhook[name]);
  await pool.query(
    `INSERT INTO webhooks (id, client_id, phone, url, secret)
     SELECT id, client_id, phone, url, decode(secret, 'hex')
     FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[]) AS t(id, client_id, phone, url, secret)`,
    ['id', 'client_id', 'phone', 'url', 'secret'].map(column),
  );
  registered = webhooks;
  return {};
}

function job(number, webhooks, content) {
  const { id, client_id, phone } = registered[number % webhooks];
  const message = {
    client_id,
    message_id: `BENCH${number}`,
    from: '4915100000000',
    to: phone,
    timestamp: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
    type: 'text',
    content,
    metadata: {},
  };
  return { name: 'message', data: { webhook_id: id, event_id: randomUUID(), message } };
}

async function publish({ first, messages, rate, in_flight, webhooks, content }) {
  const times = new Array(messages);
  const began = nowMicros();
  const due = (place) => began + (rate ? (place * 1e6) / rate : 0);
  const open = new Set();
  let jobsOpen = 0;
  const add = async (from, to) => {
    const jobs = [];
    jobsOpen += to - from;
    for (let place = from; place < to; place += 1) jobs.push(job(first + place, webhooks, content));
    await queue.addBulk(jobs);
    const acknowledged = nowMicros();
    jobsOpen -= to - from;
    for (let place = from; place < to; place += 1) times[place] = [Math.round(due(place)), acknowledged];
  };
  for (let from = 0; from < messages; ) {
    const wait = due(from) - nowMicros();
    if (wait > 0) {
      // Timers have steps of a millisecond here; spinning would take processor time from what is measured.
      await sleep(Math.ceil(wait / 1_000));
      continue;
    }
    let to = from + 1;
    while (to < messages && to - from < BULK && due(to) <= nowMicros()) to += 1;
    const adding = add(from, to).finally(() => open.delete(adding));
    open.add(adding);
    from = to;
    while (jobsOpen + BULK > in_flight && open.size > 0) await Promise.race(open);
  }
  await Promise.all(open);
  return { times };
}

async function recorded({ webhook_id }) {
  const { rows } = await pool.query(
    'SELECT message_id FROM attempts WHERE webhook_id = $1 ORDER BY started_at DESC LIMIT 50',
    [webhook_id],
  );
  return { message_ids: rows.map((row) => row.message_id) };
}

const commands = { register, publish, recorded };
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  console.log(JSON.stringify(await commands[command.do](command)));
}
await queue.close();
await pool.end();
