// Makes the tables; fails when PostgreSQL does not answer yet.

import { readFileSync } from 'node:fs';

import { postgres } from './settings.mjs';

const pool = postgres(1);
await pool.query(readFileSync(process.env.SCHEMA, 'utf8'));
await pool.end();
