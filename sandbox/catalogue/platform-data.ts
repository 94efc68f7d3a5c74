/** What is written down of a platform. */
export interface PlatformData {
  platform: string;
  name: string;
  category: string;
  description: string;
  /** False: the platform is connected with an API key. */
  oauth: boolean;
  /** Whether AuthKit offers it; what it does not offer can only be called with keys made elsewhere. */
  authkit: boolean;
  /** How many actions the catalogue claims for it. */
  tools: number;
  colour: string;
  /** Slug in simple-icons; without one a letter mark is drawn. */
  icon?: string;
}

type Row = [platform: string, name: string, auth: 'oauth' | 'key', tools: number, colour: string, icon: string | undefined, description: string];

const CATEGORIES: Record<string, Row[]> = {
  Communication: [
    ['gmail', 'Gmail', 'oauth', 42, '#EA4335', 'gmail', 'Read, send and organise email.'],
    ['outlook-mail', 'Outlook Mail', 'oauth', 38, '#0F6CBD', undefined, 'Mail, folders and rules in Microsoft 365.'],
    ['slack', 'Slack', 'oauth', 57, '#611F69', undefined, 'Post messages and work with channels and users.'],
    ['microsoft-teams', 'Microsoft Teams', 'oauth', 44, '#5059C9', undefined, 'Chats, channels and meetings.'],
    ['discord', 'Discord', 'oauth', 29, '#5865F2', 'discord', 'Servers, channels and messages.'],
    ['zoom', 'Zoom', 'oauth', 33, '#0B5CFF', 'zoom', 'Meetings, recordings and webinars.'],
    ['telegram', 'Telegram', 'key', 21, '#26A5E4', 'telegram', 'Send messages through a bot.'],
    ['whatsapp-business', 'WhatsApp Business', 'key', 18, '#25D366', 'whatsapp', 'Templates and conversations with customers.'],
    ['twilio', 'Twilio', 'key', 31, '#D61F2F', undefined, 'SMS, calls and phone numbers.'],
    ['intercom', 'Intercom', 'oauth', 40, '#1F5EFF', 'intercom', 'Conversations, contacts and articles.'],
  ],
  Productivity: [
    ['google-calendar', 'Google Calendar', 'oauth', 27, '#4285F4', 'googlecalendar', 'Events, calendars and free time.'],
    ['google-drive', 'Google Drive', 'oauth', 36, '#1A73E8', 'googledrive', 'Files, folders and permissions.'],
    ['google-docs', 'Google Docs', 'oauth', 9, '#4285F4', 'googledocs', 'Create, read and edit documents.'],
    ['google-sheets', 'Google Sheets', 'oauth', 17, '#34A853', 'googlesheets', 'Read and write ranges of a spreadsheet.'],
    ['notion', 'Notion', 'oauth', 24, '#000000', 'notion', 'Pages, databases and blocks.'],
    ['airtable', 'Airtable', 'oauth', 22, '#18BFFF', 'airtable', 'Bases, tables and records.'],
    ['calendly', 'Calendly', 'oauth', 19, '#006BFF', 'calendly', 'Event types, bookings and invitees.'],
    ['typeform', 'Typeform', 'oauth', 20, '#262627', undefined, 'Forms and their responses.'],
    ['todoist', 'Todoist', 'oauth', 23, '#E44332', 'todoist', 'Tasks, projects and labels.'],
    ['miro', 'Miro', 'oauth', 34, '#050038', 'miro', 'Boards and everything on them.'],
    ['dropbox', 'Dropbox', 'oauth', 28, '#0061FF', 'dropbox', 'Files, folders and shared links.'],
    ['box', 'Box', 'oauth', 39, '#0061D5', 'box', 'Enterprise files and collaboration.'],
  ],
  'Project Management': [
    ['asana', 'Asana', 'oauth', 48, '#F06A6A', 'asana', 'Tasks, projects and portfolios.'],
    ['trello', 'Trello', 'oauth', 35, '#0052CC', 'trello', 'Boards, lists and cards.'],
    ['jira', 'Jira', 'oauth', 61, '#0052CC', 'jira', 'Issues, sprints and workflows.'],
    ['confluence', 'Confluence', 'oauth', 26, '#172B4D', 'confluence', 'Spaces, pages and comments.'],
    ['linear', 'Linear', 'oauth', 25, '#5E6AD2', 'linear', 'Issues, cycles and roadmaps.'],
    ['clickup', 'ClickUp', 'oauth', 45, '#7B68EE', 'clickup', 'Tasks, lists and goals.'],
    ['monday', 'monday.com', 'oauth', 30, '#FF3D57', undefined, 'Boards, items and updates.'],
  ],
  CRM: [
    ['hubspot', 'HubSpot', 'oauth', 73, '#FF7A59', 'hubspot', 'Contacts, companies, deals and tickets.'],
    ['salesforce', 'Salesforce', 'oauth', 66, '#00A1E0', undefined, 'Accounts, opportunities and any custom object.'],
    ['pipedrive', 'Pipedrive', 'oauth', 41, '#017737', undefined, 'Deals, people and activities.'],
    ['attio', 'Attio', 'oauth', 32, '#1B1D21', undefined, 'Records, lists and notes.'],
    ['zoho-crm', 'Zoho CRM', 'oauth', 37, '#E42527', undefined, 'Leads, contacts and deals.'],
    ['zendesk', 'Zendesk', 'oauth', 52, '#03363D', 'zendesk', 'Tickets, users and help centre.'],
  ],
  Marketing: [
    ['mailchimp', 'Mailchimp', 'oauth', 43, '#FFE01B', 'mailchimp', 'Audiences, campaigns and reports.'],
    ['sendgrid', 'SendGrid', 'key', 29, '#1A82E2', undefined, 'Transactional and marketing email.'],
    ['resend', 'Resend', 'key', 14, '#000000', 'resend', 'Email for developers.'],
    ['brevo', 'Brevo', 'key', 33, '#0B996E', 'brevo', 'Email, SMS and contact lists.'],
    ['klaviyo', 'Klaviyo', 'key', 36, '#232426', undefined, 'Profiles, segments and flows.'],
    ['active-campaign', 'ActiveCampaign', 'key', 34, '#004CFF', undefined, 'Contacts, automations and deals.'],
    ['google-ads', 'Google Ads', 'oauth', 21, '#4285F4', 'googleads', 'Campaigns, budgets and keywords.'],
  ],
  Development: [
    ['github', 'GitHub', 'oauth', 88, '#181717', 'github', 'Repositories, issues and pull requests.'],
    ['gitlab', 'GitLab', 'oauth', 64, '#FC6D26', 'gitlab', 'Projects, merge requests and pipelines.'],
    ['bitbucket', 'Bitbucket', 'oauth', 31, '#0052CC', 'bitbucket', 'Repositories and pull requests.'],
    ['vercel', 'Vercel', 'key', 39, '#000000', 'vercel', 'Deployments, projects and domains.'],
    ['supabase', 'Supabase', 'key', 27, '#3FCF8E', 'supabase', 'Projects, tables and functions.'],
    ['sentry', 'Sentry', 'oauth', 28, '#362D59', 'sentry', 'Issues, events and releases.'],
    ['datadog', 'Datadog', 'key', 46, '#632CA6', 'datadog', 'Metrics, monitors and logs.'],
    ['pagerduty', 'PagerDuty', 'oauth', 30, '#06AC38', 'pagerduty', 'Incidents, schedules and services.'],
    ['figma', 'Figma', 'oauth', 24, '#F24E1E', 'figma', 'Files, components and comments.'],
  ],
  Finance: [
    ['stripe', 'Stripe', 'key', 79, '#635BFF', 'stripe', 'Customers, payments and subscriptions.'],
    ['quickbooks', 'QuickBooks', 'oauth', 55, '#2CA01C', 'quickbooks', 'Invoices, bills and reports.'],
    ['xero', 'Xero', 'oauth', 50, '#13B5EA', 'xero', 'Invoices, contacts and bank feeds.'],
    ['paypal', 'PayPal', 'oauth', 32, '#002991', 'paypal', 'Orders, payments and disputes.'],
    ['square', 'Square', 'oauth', 47, '#3E4348', 'square', 'Catalogue, orders and payments.'],
    ['brex', 'Brex', 'key', 16, '#212121', 'brex', 'Cards, expenses and accounts.'],
  ],
  Commerce: [
    ['shopify', 'Shopify', 'oauth', 68, '#5E8E3E', 'shopify', 'Products, orders and customers.'],
    ['woocommerce', 'WooCommerce', 'key', 44, '#96588A', undefined, 'Products, orders and coupons.'],
    ['bigcommerce', 'BigCommerce', 'key', 49, '#121118', 'bigcommerce', 'Catalogue, orders and customers.'],
    ['gumroad', 'Gumroad', 'oauth', 12, '#FF90E8', 'gumroad', 'Products, sales and subscribers.'],
  ],
  AI: [
    ['openai', 'OpenAI', 'key', 26, '#0B7A63', undefined, 'Models, responses and embeddings.'],
    ['anthropic', 'Anthropic', 'key', 8, '#191919', 'anthropic', 'Messages and models.'],
    ['exa', 'Exa', 'key', 6, '#1F40ED', undefined, 'Search the web for meaning, with contents.'],
    ['perplexity', 'Perplexity', 'key', 4, '#1B7F8C', 'perplexity', 'Answers with sources.'],
    ['elevenlabs', 'ElevenLabs', 'key', 22, '#000000', 'elevenlabs', 'Voices and speech.'],
    ['hugging-face', 'Hugging Face', 'key', 18, '#FFD21E', 'huggingface', 'Models, datasets and inference.'],
  ],
};

const NOT_IN_AUTHKIT = new Set(['bigcommerce', 'brevo', 'gumroad', 'hugging-face']);

/** Real platform names with their categories; counts of tools are plausible, not measured. */
export const PLATFORM_DATA: readonly PlatformData[] = Object.entries(CATEGORIES).flatMap(([category, rows]) =>
  rows.map(([platform, name, auth, tools, colour, icon, description]) => ({
    platform, name, category, description, oauth: auth === 'oauth', authkit: !NOT_IN_AUTHKIT.has(platform), tools, colour, ...(icon !== undefined && { icon }),
  })),
);
