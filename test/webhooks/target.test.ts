import t from 'tap';
import { resolveTarget } from '../../src/webhooks/target.js';

const never = async () => [];
const refusal = { code: 'webhook_target_refused', status: 422 };

const publicAddresses = ['93.184.215.14', '8.8.8.8', '[2606:2800:21f:cb07:6820:80da:af6b:8b2c]'];
const privateAddresses = [
  '10.0.0.1', '172.16.3.4', '192.168.1.1', '100.64.0.1', '127.0.0.1', '127.255.255.254', '169.254.169.254', '[::1]', '[fe80::1]', '[fd00:ec2::254]', '[fc00::1]',
  // Other ways to write 127.0.0.1 and 169.254.169.254, and IPv6 addresses that are IPv4 ones in disguise.
  '2130706433', '0x7f000001', '0177.0.0.1', '127.1', '[::ffff:127.0.0.1]', '[::ffff:a9fe:a9fe]', '[0:0:0:0:0:ffff:10.0.0.1]',
];
const neverAddresses = [
  '0.0.0.0', '224.0.0.1', '255.255.255.255', '240.0.0.1', '192.0.2.1', '198.18.0.1', '[::]', '[ff02::1]', '[64:ff9b::7f00:1]', '[64:ff9b:1::a9fe:a9fe]',
  '168.63.129.16', '[::ffff:168.63.129.16]', '[2002:7f00:1::]', '[2001:0:4136:e378:8000:63bf:80ff:fffe]', '[::7f00:1]', '[fec0::1]', '[100::1]', '[2001:db8::1]', '[::ffff:0:127.0.0.1]',
];

t.test('public addresses pass', async (t) => {
  for (const host of publicAddresses) t.match(await resolveTarget(`https://${host}/hook`, { allowPrivate: false, resolve: never }), { addresses: [{}] }, host);
});

t.test('private, link-local, loopback and metadata addresses pass only when allowed, however they are written', async (t) => {
  for (const host of privateAddresses) {
    await t.rejects(resolveTarget(`https://${host}/hook`, { allowPrivate: false, resolve: never }), refusal, host);
    await t.resolves(resolveTarget(`https://${host}/hook`, { allowPrivate: true, resolve: never }), host);
  }
});

t.test('unspecified, multicast, reserved and translating addresses never pass, nor Azure\'s metadata address, public by its number', async (t) => {
  for (const host of neverAddresses) {
    for (const allowPrivate of [false, true]) await t.rejects(resolveTarget(`https://${host}/hook`, { allowPrivate, resolve: never }), refusal, host);
  }
});

t.test('one bad address among good ones refuses the name', async (t) => {
  const resolve = async () => [{ address: '93.184.215.14', family: 4 }, { address: '169.254.169.254', family: 4 }];
  await t.rejects(resolveTarget('https://hooks.example/', { allowPrivate: false, resolve }), refusal);
});

t.test('without TLS only loopback passes, and only when private is allowed', async (t) => {
  await t.rejects(resolveTarget('http://127.0.0.1:1/', { allowPrivate: false, resolve: never }), refusal);
  await t.resolves(resolveTarget('http://127.0.0.1:1/', { allowPrivate: true, resolve: never }));
  await t.rejects(resolveTarget('http://10.0.0.1/', { allowPrivate: true, resolve: never }), refusal);
  await t.rejects(resolveTarget('http://93.184.215.14/', { allowPrivate: true, resolve: never }), refusal);
  await t.rejects(resolveTarget('http://unknown.example/', { allowPrivate: true, resolve: async () => { throw new Error('ENOTFOUND'); } }), refusal);
});
