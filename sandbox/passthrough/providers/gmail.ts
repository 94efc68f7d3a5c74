import { routed } from './route.js';

const MESSAGES = [
  message('18f3a1c2d4e5f601', 'Ada Park <ada@northwind.example>', 'Signed: Q3 renewal', 'Great news, the renewal is signed. Kick-off on Monday?'),
  message('18f3a1c2d4e5f602', 'GitHub <noreply@github.example>', '[acme/api] Release v2.4.0', 'v2.4.0 is out: faster exports, two fixes and a new endpoint.'),
  message('18f3a1c2d4e5f603', 'Luis Ferreira <luis@contoso.example>', 'Lunch on Thursday?', 'The new place around the corner has a table at noon.'),
];

function message(id: string, from: string, subject: string, snippet: string) {
  return { id, from, subject, snippet };
}

/** A little of Gmail's API. */
export const gmail = routed([
  {
    method: 'GET',
    path: /users\/[^/]+\/profile$/,
    answer: (_groups, { connection }) => ({
      emailAddress: `${connection.identity ?? 'sandbox'}@gmail.example`, messagesTotal: 1284, threadsTotal: 873, historyId: '987654',
    }),
  },
  {
    method: 'GET',
    path: /users\/[^/]+\/messages$/,
    answer: () => ({ messages: MESSAGES.map(({ id }) => ({ id, threadId: id })), resultSizeEstimate: MESSAGES.length }),
  },
  {
    method: 'GET',
    path: /users\/[^/]+\/messages\/([^/]+)$/,
    answer: ([id = '']) => {
      const message = MESSAGES.find((candidate) => candidate.id === id) ?? { ...MESSAGES[0], id };
      const headers = [{ name: 'From', value: message.from }, { name: 'Subject', value: message.subject }];
      return { id, threadId: id, labelIds: ['INBOX', 'UNREAD'], snippet: message.snippet, payload: { mimeType: 'text/plain', headers } };
    },
  },
  {
    method: 'GET',
    path: /users\/[^/]+\/labels$/,
    answer: () => ({ labels: ['INBOX', 'SENT', 'STARRED', 'IMPORTANT'].map((id) => ({ id, name: id, type: 'system' })) }),
  },
]);
