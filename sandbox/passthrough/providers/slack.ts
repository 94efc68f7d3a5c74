import { bodyFields, routed } from './route.js';

/** A little of Slack's API. */
export const slack = routed([
  {
    method: 'GET',
    path: /auth\.test$/,
    answer: (_groups, { connection }) => ({
      ok: true, url: 'https://acme.slack.example/', team: 'Acme', user: connection.identity ?? 'sandbox', team_id: 'T024BE7LD',
    }),
  },
  {
    method: 'GET',
    path: /conversations\.list$/,
    answer: () => ({
      ok: true,
      channels: [
        { id: 'C024BE7LR', name: 'general', is_channel: true, is_member: true, num_members: 48, topic: { value: 'Company-wide news' } },
        { id: 'C024BE7LT', name: 'engineering', is_channel: true, is_member: true, num_members: 19, topic: { value: 'Build, ship, repeat' } },
        { id: 'C024BE7LV', name: 'customers', is_channel: true, is_member: false, num_members: 27, topic: { value: 'What they say' } },
      ],
      response_metadata: { next_cursor: '' },
    }),
  },
  {
    method: 'POST',
    path: /chat\.postMessage$/,
    answer: async (_groups, call) => {
      const { channel, text } = await bodyFields(call);
      if (!channel) return { ok: false, error: 'channel_not_found' };
      if (!text) return { ok: false, error: 'no_text' };
      const ts = (Date.now() / 1000).toFixed(6);
      return { ok: true, channel, ts, message: { type: 'message', bot_id: 'B19LU7CSY', text, ts } };
    },
  },
]);
