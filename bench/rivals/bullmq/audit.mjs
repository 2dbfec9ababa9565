// The audit of attempts: a job is done only when its row is committed.

const COLUMNS = [
  ['webhook_id', 'uuid'],
  ['event_id', 'uuid'],
  ['number', 'smallint'],
  ['client_id', 'bigint'],
  ['message_id', 'text'],
  ['body', 'text'],
  ['status', 'text'],
  ['http_status', 'smallint'],
  ['response', 'text'],
  ['error', 'text'],
  ['started_at', 'timestamptz'],
  ['latency_ms', 'integer'],
];
const NAMES = COLUMNS.map(([name]) => name).join(', ');
const ROWS_MAX = 256;
/** Batches that are being committed at once. */
const BATCHES = 2;

/** One statement for all rows that came while the one before was being committed; nobody waits for a timer. */
export class BatchedAudit {
  #pool;
  #waiting = [];
  #open = 0;
  #text = `INSERT INTO attempts (${NAMES}) SELECT * FROM unnest(${COLUMNS.map(
    ([, type], place) => `$${place + 1}::${type}[]`,
  ).join(', ')}) ON CONFLICT DO NOTHING`;

  constructor(pool) {
    this.#pool = pool;
  }

  write(row) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ row, resolve, reject });
      // After this turn of the event loop, so that all answers that came with it go together.
      setImmediate(() => this.#flush());
    });
  }

  async #flush() {
    if (this.#open >= BATCHES || this.#waiting.length === 0) return;
    const batch = this.#waiting.splice(0, ROWS_MAX);
    this.#open += 1;
    try {
      const values = COLUMNS.map(([name]) => batch.map(({ row }) => row[name]));
      await this.#pool.query({ name: 'audit', text: this.#text, values });
      batch.forEach(({ resolve }) => resolve());
    } catch (error) {
      batch.forEach(({ reject }) => reject(error));
    } finally {
      this.#open -= 1;
      this.#flush();
    }
  }
}

/** One statement and one commit per row, as such services mostly do it. */
export class PlainAudit {
  #pool;
  #text = `INSERT INTO attempts (${NAMES}) VALUES (${COLUMNS.map((_, place) => `$${place + 1}`).join(', ')})
           ON CONFLICT DO NOTHING`;

  constructor(pool) {
    this.#pool = pool;
  }

  write(row) {
    return this.#pool.query({ name: 'audit', text: this.#text, values: COLUMNS.map(([name]) => row[name]) });
  }
}
