type Row = [title: string, method: string, path: string, modelName: string, tags?: string[]];

/** Actions of some platforms, with the paths of their public APIs. */
export const ACTION_DATA: Record<string, { baseUrl: string; actions: Row[] }> = {
  gmail: {
    baseUrl: 'https://gmail.googleapis.com',
    actions: [
      ['Get profile', 'GET', '/gmail/v1/users/{{userId}}/profile', 'Users'],
      ['List messages', 'GET', '/gmail/v1/users/{{userId}}/messages', 'Messages'],
      ['Get message', 'GET', '/gmail/v1/users/{{userId}}/messages/{{id}}', 'Messages'],
      ['Send message', 'POST', '/gmail/v1/users/{{userId}}/messages/send', 'Messages'],
      ['Trash message', 'POST', '/gmail/v1/users/{{userId}}/messages/{{id}}/trash', 'Messages'],
      ['List labels', 'GET', '/gmail/v1/users/{{userId}}/labels', 'Labels'],
      ['Create draft', 'POST', '/gmail/v1/users/{{userId}}/drafts', 'Drafts'],
      ['Send Email', 'POST', '/gmail/send-email', 'Custom', ['custom']],
    ],
  },
  slack: {
    baseUrl: 'https://slack.com',
    actions: [
      ['Test auth', 'GET', '/api/auth.test', 'Auth'],
      ['List conversations', 'GET', '/api/conversations.list', 'Conversations'],
      ['Get conversation history', 'GET', '/api/conversations.history', 'Conversations'],
      ['Post message', 'POST', '/api/chat.postMessage', 'Chat'],
      ['List users', 'GET', '/api/users.list', 'Users'],
    ],
  },
  hubspot: {
    baseUrl: 'https://api.hubapi.com',
    actions: [
      ['List contacts', 'GET', '/crm/v3/objects/contacts', 'Contacts'],
      ['Get contact', 'GET', '/crm/v3/objects/contacts/{{contactId}}', 'Contacts'],
      ['Create contact', 'POST', '/crm/v3/objects/contacts', 'Contacts'],
      ['Update contact', 'PATCH', '/crm/v3/objects/contacts/{{contactId}}', 'Contacts'],
      ['Search companies', 'POST', '/crm/v3/objects/companies/search', 'Companies'],
      ['List deals', 'GET', '/crm/v3/objects/deals', 'Deals'],
    ],
  },
  github: {
    baseUrl: 'https://api.github.com',
    actions: [
      ['Get authenticated user', 'GET', '/user', 'Users'],
      ['List repositories', 'GET', '/user/repos', 'Repositories'],
      ['Get repository', 'GET', '/repos/{{owner}}/{{repo}}', 'Repositories'],
      ['List issues', 'GET', '/repos/{{owner}}/{{repo}}/issues', 'Issues'],
      ['Create issue', 'POST', '/repos/{{owner}}/{{repo}}/issues', 'Issues'],
      ['Merge pull request', 'PUT', '/repos/{{owner}}/{{repo}}/pulls/{{pull_number}}/merge', 'Pulls'],
      ['Delete a file', 'DELETE', '/repos/{{owner}}/{{repo}}/contents/{{path}}', 'Contents'],
    ],
  },
  stripe: {
    baseUrl: 'https://api.stripe.com',
    actions: [
      ['List customers', 'GET', '/v1/customers', 'Customers'],
      ['Get customer', 'GET', '/v1/customers/{{id}}', 'Customers'],
      ['Create customer', 'POST', '/v1/customers', 'Customers'],
      ['Delete customer', 'DELETE', '/v1/customers/{{id}}', 'Customers'],
      ['List charges', 'GET', '/v1/charges', 'Charges'],
      ['Get balance', 'GET', '/v1/balance', 'Balance'],
    ],
  },
  'google-calendar': {
    baseUrl: 'https://www.googleapis.com',
    actions: [
      ['List calendars', 'GET', '/calendar/v3/users/me/calendarList', 'Calendars'],
      ['List events', 'GET', '/calendar/v3/calendars/{{calendarId}}/events', 'Events'],
      ['Create event', 'POST', '/calendar/v3/calendars/{{calendarId}}/events', 'Events'],
      ['Delete event', 'DELETE', '/calendar/v3/calendars/{{calendarId}}/events/{{eventId}}', 'Events'],
    ],
  },
  'google-drive': {
    baseUrl: 'https://www.googleapis.com',
    actions: [
      ['List files', 'GET', '/drive/v3/files', 'Files'],
      ['Get file', 'GET', '/drive/v3/files/{{fileId}}', 'Files'],
      ['Upload file', 'POST', '/upload/drive/v3/files', 'Files'],
    ],
  },
  'google-sheets': {
    baseUrl: 'https://sheets.googleapis.com',
    actions: [
      ['Get spreadsheet', 'GET', '/v4/spreadsheets/{{spreadsheetId}}', 'Spreadsheets'],
      ['Get values', 'GET', '/v4/spreadsheets/{{spreadsheetId}}/values/{{range}}', 'Values'],
      ['Append values', 'POST', '/v4/spreadsheets/{{spreadsheetId}}/values/{{range}}:append', 'Values'],
    ],
  },
  notion: {
    baseUrl: 'https://api.notion.com',
    actions: [
      ['Search', 'POST', '/v1/search', 'Search'],
      ['List users', 'GET', '/v1/users', 'Users'],
      ['Get page', 'GET', '/v1/pages/{{page_id}}', 'Pages'],
      ['Create page', 'POST', '/v1/pages', 'Pages'],
      ['Query database', 'POST', '/v1/databases/{{database_id}}/query', 'Databases'],
    ],
  },
  exa: {
    baseUrl: 'https://api.exa.ai',
    actions: [
      ['Search', 'POST', '/search', 'Search'],
      ['Get contents', 'POST', '/contents', 'Contents'],
      ['Answer', 'POST', '/answer', 'Answer'],
    ],
  },
  linear: { baseUrl: 'https://api.linear.app', actions: [['Run query', 'POST', '/graphql', 'GraphQL']] },
  airtable: {
    baseUrl: 'https://api.airtable.com',
    actions: [
      ['List bases', 'GET', '/v0/meta/bases', 'Bases'],
      ['List records', 'GET', '/v0/{{baseId}}/{{tableIdOrName}}', 'Records'],
      ['Create records', 'POST', '/v0/{{baseId}}/{{tableIdOrName}}', 'Records'],
    ],
  },
};
