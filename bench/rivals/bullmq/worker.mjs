// The sender: job → signed POST → audit row → done. Prints "ready" when it takes jobs; SIGTERM ends it.

import { createHmac } from 'node:crypto';
import http from 'node:http';

import axios from 'axios';
import { UnrecoverableError, Worker } from 'bullmq';

import { BatchedAudit, PlainAudit } from './audit.mjs';
import { QUEUE, number, postgres, redis } from './settings.mjs';

const RESPONSE_BYTES_MAX = 16 * 1024;
const AUDIT_CONNECTIONS = 10;

const pool = postgres(AUDIT_CONNECTIONS);
const audit = process.env.AUDIT === 'plain' ? new PlainAudit(pool) : new BatchedAudit(pool);
const webhooks = await loadWebhooks();

const client = axios.create({
  httpAgent: new http.Agent({ keepAlive: true, scheduling: 'lifo' }),
  timeout: number('TIMEOUT_MS', 10_000),
  maxRedirects: 0,
  maxContentLength: RESPONSE_BYTES_MAX,
  proxy: false,
  decompress: false,
  responseType: 'text',
  validateStatus: null,
  // Bodies are bytes already, answers are not parsed.
  transformRequest: [],
  transformResponse: [],
});

/** All webhooks, kept in memory: the table is read once, not per job. */
async function loadWebhooks() {
  const { rows } = await pool.query('SELECT id, client_id, url, secret FROM webhooks WHERE is_active');
  return new Map(rows.map((row) => [row.id, row]));
}

async function post(webhook, eventId, body) {
  const timestamp = Math.floor(Date.now() / 1_000);
  const signature = createHmac('sha256', webhook.secret).update(`${eventId}.${timestamp}.`).update(body).digest('base64');
  const headers = {
    'content-type': 'application/json',
    'user-agent': 'rival/0.1',
    'webhook-id': eventId,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': `v1,${signature}`,
  };
  try {
    const answer = await client.post(webhook.url, body, { headers });
    return { http_status: answer.status, response: answer.data || null, error: null };
  } catch (error) {
    return { http_status: null, response: null, error: error.code ?? error.message };
  }
}

async function deliver(job) {
  const { webhook_id, event_id, message } = job.data;
  const webhook = webhooks.get(webhook_id);
  if (!webhook) throw new UnrecoverableError('no such webhook');
  const body = Buffer.from(JSON.stringify(message));
  const started_at = new Date();
  const began = performance.now();
  const answer = await post(webhook, event_id, body);
  const status = answer.http_status;
  const isDelivered = status >= 200 && status < 300;
  await audit.write({
    webhook_id,
    event_id,
    number: job.attemptsMade + 1,
    client_id: webhook.client_id,
    message_id: message.message_id,
    body: body.toString(),
    status: isDelivered ? 'delivered' : 'failed',
    ...answer,
    started_at,
    latency_ms: Math.round(performance.now() - began),
  });
  if (isDelivered) return;
  const isTransient = status === null || status >= 500 || [408, 425, 429].includes(status);
  throw isTransient ? new Error(answer.error ?? `answered ${status}`) : new UnrecoverableError(`answered ${status}`);
}

const worker = new Worker(QUEUE, deliver, { connection: redis, concurrency: number('CONCURRENCY') });
worker.on('error', (error) => console.error('worker:', error.message));
await worker.waitUntilReady();
console.log('ready');

process.on('SIGTERM', async () => {
  await worker.close();
  await pool.end();
  process.exit(0);
});
