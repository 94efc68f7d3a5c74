import { connectionList } from './connections.js';
import { toast } from './dom.js';
import { identityPicker, rememberedIdentity } from './identity.js';
import { requestPanel } from './request.js';
import { Session } from './session.js';
import { openWidget } from './widget.js';

const byId = (id) => document.getElementById(id);
const first = rememberedIdentity();

let session;
let catalogue;

const requests = requestPanel({ node: byId('request'), session: () => session });
const list = connectionList({ node: byId('connections'), actions: { connect, sync, remove, use: requests.choose } });
byId('identity').append(identityPicker({ ...first, onChoose: choose }));
choose(first.identity, first.identityType);

function choose(identity, identityType) {
  session = new Session(identity, identityType);
  byId('connections-of').textContent = `Of the ${identityType} “${identity}”.`;
  requests.setConnections([]);
  list.showLoading();
  return refresh();
}

/** Reads the list again. An answer for somebody who is no longer chosen is dropped. */
async function refresh() {
  const current = session;
  try {
    const items = await itemsOf(current);
    if (current !== session) return;
    list.show(items);
    requests.setConnections(items);
  } catch (error) {
    if (current === session) list.showFailure(error, refresh);
  }
}

async function itemsOf(current) {
  const query = new URLSearchParams({ identity: current.identity, identityType: current.identityType, limit: '100' });
  const [{ rows }, platforms] = await Promise.all([current.call('GET', `/connections?${query}`), platformsOf(current)]);
  return rows.map((connection) => {
    const { name = connection.platform, image } = platforms.get(connection.platform) ?? {};
    return { connection, title: name, image };
  });
}

/** Names and images by platform. They are decoration: without them the list shows ids and letters. */
async function platformsOf(current) {
  catalogue ??= current.call('GET', '/integrations?limit=300');
  try {
    return new Map((await catalogue).rows.map((row) => [row.platform, row]));
  } catch {
    catalogue = undefined;
    return new Map();
  }
}

async function nameOf(platform) {
  return (await platformsOf(session)).get(platform)?.name ?? platform;
}

function connect() {
  const current = session;
  return openWidget(current, {
    onClose: list.focusConnect,
    onRecord: async (record) => {
      try {
        await current.claim(record);
        toast(`${await nameOf(record.platform)} is connected.`);
      } catch (error) {
        toast(error.message, 'bad');
      }
      await refresh();
    },
  });
}

async function sync() {
  const { created, updated, removed, unchanged } = await session.call('POST', '/connections/sync');
  toast(`In step with the vault: ${created} new, ${updated} changed, ${removed} gone, ${unchanged} as they were.`);
  await refresh();
}

async function remove(connection) {
  await session.call('DELETE', `/connections/${encodeURIComponent(connection.id)}`);
  toast(`${await nameOf(connection.platform)} is disconnected.`);
  await refresh();
  list.focusConnect();
}
