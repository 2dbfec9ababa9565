// Hands deliveries in the format of Meta's Cloud API to a bot written with whatsapp-api-js.

import {readFileSync} from 'node:fs';
import {pathToFileURL} from 'node:url';

const library = process.env.RECEIVERS + '/node/node_modules/whatsapp-api-js/lib/index.js';
const {WhatsAppAPI} = await import(pathToFileURL(library));

const deliveries = JSON.parse(readFileSync(process.argv[2], 'utf8'));
let wrong = 0;
for (const {kind, secret, body, headers, content} of deliveries) {
  const bot = new WhatsAppAPI({token: 'token', appSecret: secret, v: 'v24.0'});
  const seen = [];
  bot.on.message = ({message, from}) => { seen.push({message, from}); };
  bot.on.status = ({status}) => { seen.push({status}); };
  try {
    // It has no handler for echoes, and says so of a body whose signature it accepts.
    if (kind.startsWith('own')) {
      if (!await bot.verifyRequestSignature(body, headers['x-hub-signature-256'])) {
        throw new Error('signature');
      }
      continue;
    }
    await bot.post(JSON.parse(body), body, headers['x-hub-signature-256']);
    if (seen.length !== 1) throw new Error(`seen ${seen.length} times`);
    if (kind === 'text' && seen[0].message.text.body !== content) throw new Error('other text');
    if (kind !== 'receipt' && !seen[0].from) throw new Error('nobody to answer');
  } catch (error) {
    wrong += 1;
    console.log(kind, String(error));
  }
}
console.log(`${deliveries.length} deliveries, ${wrong} not seen as they are`);
process.exitCode = wrong > 0 || deliveries.length === 0 ? 1 : 0;
