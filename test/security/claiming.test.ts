import t from 'tap';
import { startGateway } from '../helpers/gateway.js';
import { seed } from '../helpers/sandbox.js';
import { asBearer, claimOf, openSession, startBoth } from '../helpers/trust.js';

t.setTimeout(300_000);

t.test('attacks on claims', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const { token } = await openSession(gateway, { identity: 'mallory' });
  const mallory = asBearer(gateway, token);
  const stored = () => gateway.database.prisma.userConnection.count();
  const attempts: { name: string; identity?: string; row: Record<string, unknown>; said?: Record<string, unknown> }[] = [
    { name: 'another identity\'s key', row: { identity: 'ada' } },
    { name: 'another identity\'s key, with a record that says it is one\'s own', row: { identity: 'ada' }, said: { identity: 'mallory', identityType: 'user', active: true } },
    { name: 'a team\'s key, as the user of the same name', row: { identity: 'mallory', identityType: 'team' } },
    { name: 'a key of nobody\'s', row: { identity: undefined, identityType: undefined } },
    { name: 'a key whose text names one\'s own identity, while the vault names another', row: { identity: 'ada', key: `test::gmail::default::${'e'.repeat(32)}|mallory` } },
    { name: 'a key whose text names one platform, while the vault names another', row: { identity: 'mallory', platform: 'slack', key: `test::gmail::default::${'f'.repeat(32)}` } },
  ];
  for (const { name, row, said } of attempts) {
    await t.test(`claiming ${name}`, async (t) => {
      const { key } = await seed(sandbox, { platform: 'gmail', ...row });
      const refused = await mallory('POST', '/connections', { json: { key, platform: 'gmail', ...said } });
      t.match(refused, { status: 403, json: { code: 'connection_claim_rejected' } });
      const absent = await mallory('POST', '/connections', { json: { key: `test::gmail::default::${'0'.repeat(32)}`, platform: 'gmail' } });
      t.same({ ...refused.json, requestId: '' }, { ...absent.json, requestId: '' }, 'the same answer as for a key that does not exist');
      t.equal(await stored(), 0);
    });
  }

  await t.test('claiming with a record that names somebody else', async (t) => {
    const { key } = await seed(sandbox, { identity: 'ada', platform: 'gmail' });
    for (const json of [{ key, platform: 'gmail', identity: 'ada' }, { user_id: 'ada', connection_key: key, platform: 'gmail' }]) {
      t.match(await mallory('POST', '/connections', { json }), { status: 400, json: { code: 'identity_conflict' } });
    }
    t.equal(await stored(), 0);
  });

  await t.test('claiming a stored connection of another identity tells a bound credential nothing', async (t) => {
    const { claim } = await claimOf(sandbox, 'ada');
    const { id } = (await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'ada' }, json: claim })).json;
    const key = await gateway.createKey(['connections:write'], { identity: 'mallory' });
    for (const answer of [await mallory('POST', '/connections', { json: claim }), await gateway.request('POST', '/connections', { key, json: claim })]) {
      t.match(answer, { status: 403, json: { code: 'connection_claim_rejected' } });
    }
    t.equal((await gateway.request('GET', `/connections/${id}`)).json.identity, 'ada');
  });

  await t.test('two identities and many requests claiming one key at once make one row with its one owner', async (t) => {
    const { claim } = await claimOf(sandbox, 'bob', 'slack');
    const { token: bobs } = await openSession(gateway, { identity: 'bob' });
    const answers = await Promise.all(Array.from({ length: 12 }, (_, index) =>
      asBearer(gateway, index % 2 ? token : bobs)('POST', '/connections', { json: claim })));
    t.same(answers.map(({ status }) => status).sort(), [200, 200, 200, 200, 200, 201, 403, 403, 403, 403, 403, 403]);
    t.match(await gateway.database.prisma.userConnection.findMany({ where: { key: claim.key } }), [{ identity: 'bob' }]);
  });

  await t.test('reconnecting somebody else\'s connection, or with somebody else\'s key', async (t) => {
    const own = await claimOf(sandbox, 'mallory');
    const { id } = (await mallory('POST', '/connections', { json: own.claim })).json;
    const { token: reconnecting } = await openSession(gateway, { identity: 'mallory', reconnect: { connectionId: id } });
    const { key } = await seed(sandbox, { identity: 'ada', platform: 'gmail' });
    t.match(await asBearer(gateway, reconnecting)('POST', '/connections', { json: { key, platform: 'gmail' } }), { status: 403, json: { code: 'connection_claim_rejected' } });
    t.equal((await gateway.request('GET', `/connections/${id}`)).json.key, own.key);
    const adas = (await gateway.request('GET', '/connections?identity=ada')).json.rows[0].id as string;
    const opened = await gateway.request('POST', '/authkit/sessions', { json: { identity: 'mallory', reconnect: { connectionId: adas } } });
    t.equal(opened.json.code, 'connection_not_found');
  });
});

t.test('two identities claiming one unverified key at once: the first keeps it', async (t) => {
  const { gateway } = await startBoth(t, { CONNECTION_VERIFICATION: 'off' });
  const json = { key: `test::gmail::default::${'7'.repeat(32)}`, platform: 'gmail' };
  const answers = await Promise.all(['ada', 'bob', 'ada', 'bob', 'ada', 'bob'].map((identity) =>
    gateway.request('POST', '/connections', { headers: { 'x-user-id': identity }, json })));
  t.same(answers.map(({ status }) => status).sort(), [200, 200, 201, 409, 409, 409]);
  t.equal(await gateway.database.prisma.userConnection.count(), 1);
});

t.test('keeping a key that one stored while nothing was verified', async (t) => {
  const { gateway: before, sandbox } = await startBoth(t, { CONNECTION_VERIFICATION: 'off' });
  // Without an identity in it: nothing but the vault says whose it is.
  const [claimed, unclaimed] = [await claimOf(sandbox, 'ada', 'gmail', { key: `test::gmail::default::${'c'.repeat(32)}` }),
    await claimOf(sandbox, 'ada', 'slack', { key: `test::slack::default::${'d'.repeat(32)}` })];
  const ids: string[] = [];
  for (const { claim } of [claimed, unclaimed]) {
    const stored = await before.request('POST', '/connections', { headers: { 'x-user-id': 'mallory' }, json: { ...claim, name: 'Mine', tags: ['mine'] } });
    t.equal(stored.status, 201);
    t.equal((await before.request('PATCH', `/connections/${stored.json.id}`, { json: { metadata: { note: 'mine' } } })).status, 200);
    ids.push(stored.json.id);
  }
  const gateway = await startGateway(t, sandbox, { AUTHKIT_TOKEN_SOURCE: 'http' }, before.database);
  const calls = (platform: string, headers: Record<string, string>) =>
    gateway.request('GET', `/proxy/${platform}/__provider/echo`, { headers }).then((answer) => answer.headers.get('x-authkit-error'));
  t.equal(await calls('gmail', { 'x-user-id': 'mallory' }), null);

  const { token } = await openSession(gateway, { identity: 'ada' });
  const { token: mallorys } = await openSession(gateway, { identity: 'mallory' });
  t.match(await asBearer(gateway, mallorys)('POST', '/connections', { json: claimed.claim }), { status: 403, json: { code: 'connection_claim_rejected' } });
  const answer = await asBearer(gateway, token)('POST', '/connections', { json: claimed.claim });
  t.match(answer, { status: 200, json: { id: ids[0], identity: 'ada', state: 'operational' } }, 'whose it is, the vault decides');
  t.match((await gateway.request('GET', `/connections/${ids[0]}`)).json, { name: null, tags: { length: 0 } });
  t.same((await gateway.request('GET', `/connections/${ids[0]}`)).json.metadata, {}, 'and what the other one wrote on it is gone');
  t.equal(await calls('gmail', { 'x-user-id': 'mallory' }), 'connection_not_found');
  t.equal(await calls('gmail', { 'x-user-id': 'ada' }), null);

  t.equal((await gateway.request('POST', '/connections/sync', { headers: { 'x-user-id': 'mallory' } })).json.removed, 1);
  for (const [name, value] of [['x-user-id', 'mallory'], ['x-connection-id', ids[1]!]] as const) {
    t.equal(await calls('slack', { [name]: value }), 'reconnect_required', 'what the vault does not have for its identity is not used');
  }
  t.match(await gateway.request('GET', `/connections/${ids[1]}`), { status: 200, json: { identity: 'mallory', state: 'failed' } });
  t.equal((await gateway.request('POST', '/connections/sync', { headers: { 'x-user-id': 'ada' } })).json.updated, 1);
  t.equal(await calls('slack', { 'x-user-id': 'ada' }), null);
  t.same((await gateway.request('GET', `/connections/${ids[1]}`)).json.metadata, {}, 'a sync gives it away as clean');
});
