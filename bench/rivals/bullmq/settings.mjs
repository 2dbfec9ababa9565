// What publisher and worker agree on. Ports come from the program that starts the servers, see serve.sh.

import pg from 'pg';

export const QUEUE = 'deliver';
/** Both tries and waits as wahook has them by default: 5 s, 10 s, 20 s, ±10 %. */
export const JOB = {
  attempts: 4,
  backoff: { type: 'exponential', delay: 5_000, jitter: 0.1 },
  removeOnComplete: true,
  removeOnFail: false,
};

export const redis = {
  host: '127.0.0.1',
  port: number('REDIS_PORT'),
  maxRetriesPerRequest: null,
};

export function postgres(max) {
  return new pg.Pool({ host: '127.0.0.1', port: number('POSTGRES_PORT'), user: 'rival', database: 'postgres', max });
}

export function number(name, otherwise) {
  const value = Number(process.env[name] ?? otherwise);
  if (!Number.isFinite(value)) throw new Error(`${name} must be a number`);
  return value;
}

/** Microseconds since 1970, by a clock that does not jump while it runs. */
export function nowMicros() {
  return Math.round((performance.timeOrigin + performance.now()) * 1_000);
}
