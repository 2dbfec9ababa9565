// Verifies deliveries with the libraries of Standard Webhooks and Svix.

import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';

const require = createRequire(process.env.RECEIVERS + '/node/');
const libraries = {standardwebhooks: require('standardwebhooks'), svix: require('svix')};

const deliveries = JSON.parse(readFileSync(process.argv[2], 'utf8'));
let refused = 0;
for (const {kind, secret, body, headers} of deliveries) {
  for (const [name, {Webhook}] of Object.entries(libraries)) {
    try {
      new Webhook(secret).verify(body, headers);
    } catch (error) {
      refused += 1;
      console.log(name, kind, String(error));
    }
  }
}
console.log(`${deliveries.length} deliveries, ${refused} refusals`);
process.exitCode = refused > 0 || deliveries.length === 0 ? 1 : 0;
