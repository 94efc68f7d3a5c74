import { digest } from '../digest.js';
import { json, type Provider, type ProviderAnswer, type ProviderCall } from '../provider.js';

const MAX_JSON_BYTES = 1024 * 1024;

/** One realistic endpoint: `answer` gets the pattern's groups and the call. */
export interface ProviderRoute {
  method: string;
  /** Matched against the end of the path, so the guide's short form and the provider's full path both work. */
  path: RegExp;
  answer: (groups: string[], call: ProviderCall) => unknown;
}

/** A provider that serves `routes` and leaves the rest. */
export function routed(routes: readonly ProviderRoute[]): Provider {
  return (call) => {
    for (const route of routes) {
      const match = route.method === call.method ? route.path.exec(call.path) : null;
      if (match) return answer(route, match.slice(1), call);
    }
    return undefined;
  };
}

async function answer(route: ProviderRoute, groups: string[], call: ProviderCall): Promise<ProviderAnswer> {
  return json(await route.answer(groups, call), 200, [['x-request-id', 'req_sandbox'], ['date', new Date().toUTCString()]]);
}

/** The call's body as JSON or form fields; an empty object when it is neither. */
export async function bodyFields(call: ProviderCall): Promise<Record<string, unknown>> {
  const { kept } = await digest(call.body, MAX_JSON_BYTES);
  const text = kept.toString();
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    return Object.fromEntries(new URLSearchParams(text));
  }
}
