import t from 'tap';
import { sandbox, test } from './fixtures/harness.js';

t.test('the back end of the widget page stores a connection for whom the proof was issued', async (t) => {
  const { call } = await sandbox(t);
  const { requestId: proof } = (await call('POST', '/v1/authkit', { headers: test, json: { identity: 'u1', identityType: 'team' } })).json;
  const connect = (json: Record<string, unknown>) => call('POST', '/widget/connections', { json: { proof, ...json } });

  const { json: record } = await connect({ platform: 'gmail', name: 'Work mail', identity: 'someone-else' });
  t.match(record, {
    _id: String, key: /^test::gmail::default::[0-9a-f]{32}\|u1$/, platform: 'gmail', platformVersion: 'v1', environment: 'test', identity: 'u1',
    identityType: 'team', name: 'Work mail', connectionDefinitionId: String, secretsServiceId: String, settings: { oauth: true },
    throughput: { key: String, limit: Number }, createdAt: Number, updatedAt: Number, tags: [], active: true, deprecated: false, deleted: false,
    version: String, state: 'operational',
  });
  const again = await connect({ platform: 'gmail' });
  t.not(again.json.key, record.key, 'authorising again mints a new key');
  t.equal((await call('GET', '/v1/vault/connections?identity=u1', { headers: test })).json.total, 2);

  t.equal((await connect({ platform: 'stripe', form: { apiKey: 'rk_good' } })).json.settings.oauth, false);
  t.match(await connect({ platform: 'stripe', form: { apiKey: 'invalid-key' } }), { status: 400, json: { type: 'BadRequest', message: /Stripe/ } });
  t.equal((await connect({ platform: 'stripe' })).status, 400);
  t.equal((await connect({ platform: 'nothing' })).status, 404);
  t.match(await connect({ platform: 'gmail', proof: 'req_forged' }), { status: 401, json: { message: /expired/ } });
});

t.test('the page and its files are served, nothing beside them', async (t) => {
  const { call } = await sandbox(t);
  t.match(await call('GET', '/?data=e30='), { status: 200, headers: { 'content-type': /text\/html/ } });
  t.match(await call('GET', '/widget/widget.css'), { status: 200, headers: { 'content-type': /text\/css/ } });
  t.match(await call('GET', '/widget/widget.js'), { status: 200, headers: { 'content-type': /text\/javascript/ } });
  for (const path of ['..%2fapp.ts', '%2e%2e%2fapp.ts', '..%5capp.ts', '.env', 'missing.js', 'widget.js%00.css']) {
    t.equal((await call('GET', `/widget/${path}`)).status, 404, path);
  }
});
