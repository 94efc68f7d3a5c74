import type { Provider } from '../provider.js';
import { github } from './github.js';
import { gmail } from './gmail.js';
import { googleCalendar } from './google-calendar.js';
import { hubspot } from './hubspot.js';
import { notion } from './notion.js';
import { slack } from './slack.js';
import { stripe } from './stripe.js';

const PROVIDERS: Record<string, Provider> = { gmail, slack, hubspot, github, stripe, notion, 'google-calendar': googleCalendar };

/** A few endpoints of well-known providers with answers in their own form. */
export const realistic: Provider = (call) => (Object.hasOwn(PROVIDERS, call.platform) ? PROVIDERS[call.platform]?.(call) : undefined);
