/** A server's address; a host that begins with / is the directory of a Unix socket. */
export type Address = { host: string; port: number };

/** What a Postgres URL says, in libpq's form (PostgreSQL documentation, "Connection URIs") with Prisma's `schema` and `pgbouncer`. */
export type PostgresUrl = {
  /** The same for `pg`, which knows one host at most, without what only we understand. */
  connectionString: string;
  /** Where to dial, in this order; empty: `pg`'s default. */
  addresses: readonly Address[];
  /** `?schema=`: where the tables are. */
  schema: string | undefined;
  /** `?pgbouncer=true`: the URL itself says that it leads to a transaction pooler. */
  saysPooler: boolean;
  /** Names of the server settings that the URL sets itself. */
  sets: ReadonlySet<string>;
};

const form = /^postgres(?:ql)?:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/;
const ours = ['schema', 'pgbouncer', 'host', 'port', 'target_session_attrs', 'load_balance_hosts'];

/**
 * Reads a URL such as `postgres://user:password@one:5432,two:5433/database?sslmode=verify-full` or
 * `postgres:///database?host=/var/run/postgresql`. Throws an Error that says what is wrong, without the URL's values.
 */
export function parsePostgresUrl(url: string): PostgresUrl {
  const [, authority, path = '', query = ''] = form.exec(url) ?? [];
  if (authority === undefined) throw new Error('is not a URL.');
  const at = authority.lastIndexOf('@');
  const credentials = at < 0 ? '' : authority.slice(0, at + 1);
  const search = new URLSearchParams(query);
  const addresses = readAddresses(authority.slice(at + 1), search.get('host'), search.get('port'));
  const wanted = search.get('target_session_attrs') ?? 'read-write';
  if (!['any', 'read-write', 'primary'].includes(wanted)) throw new Error('has a target_session_attrs that is not any, read-write or primary: the gateway writes.');
  const schema = search.get('schema') ?? undefined;
  if (schema !== undefined && !/^[^\0"]{1,63}$/.test(schema)) throw new Error('has a schema that is not a name.');

  const rest = new URLSearchParams([...search].filter(([name]) => !ours.includes(name)));
  const [first] = addresses;
  if (first) rest.append('host', first.host);
  if (first) rest.append('port', String(first.port));
  const connectionString = `postgres://${credentials}${first ? 'host' : ''}/${path}?${rest}`;
  if (!URL.canParse(connectionString.replace('@/', '@none/')) || !decodes(credentials) || !decodes(path)) throw new Error('is not a URL.');
  return {
    connectionString, addresses, schema, saysPooler: search.get('pgbouncer') === 'true',
    sets: new Set([...rest.keys(), ...[...(search.get('options') ?? '').matchAll(/(?:-c\s*|--)([\w.]+)=/g)].map((match) => match[1]!.replaceAll('-', '_').toLowerCase())]),
  };
}

/** The hosts of the authority or, as libpq prefers them, of the query; a lone port counts for all of them. */
function readAddresses(authority: string, hostParameter: string | null, portParameter: string | null): Address[] {
  const named = authority === '' ? [] : authority.split(',').map((part) => {
    const [, bracketed, plain = '', port] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*))(?::(\d*))?$/.exec(part) ?? [undefined, undefined, undefined, 'x'];
    return { host: bracketed ?? decode(plain), port: port || '' };
  });
  const hosts = hostParameter ? hostParameter.split(',') : named.map(({ host }) => host);
  const ports = portParameter ? portParameter.split(',') : named.map(({ port }) => port);
  if (ports.length > 1 && ports.length !== hosts.length) throw new Error('has another number of ports than of hosts.');
  if (hosts.length === 0 && ports.length > 0) hosts.push('localhost');
  return hosts.map((host, index) => {
    const port = Number((ports.length === 1 ? ports[0] : ports[index]) || 5432);
    if (!Number.isInteger(port) || port < 1 || port > 65_535 || /\s/.test(host)) throw new Error('is not a URL.');
    return { host: host || 'localhost', port };
  });
}

function decodes(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function decode(text: string): string {
  if (!decodes(text)) throw new Error('is not a URL.');
  return decodeURIComponent(text);
}
