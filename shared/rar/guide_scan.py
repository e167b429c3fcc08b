"""What no guide may say: orders, roles, links, requests for data or money, tools, steering, answers given away.

Patterns for kinds of attack, not for single texts. They look at a plain form of the guide (`guide_form.bare`), those
of orders also at what is spaced out, reversed or written with digits. No scan finds everything: it is one of several
defences (see SECURITY.md). Pure functions; all patterns take time that grows with the text.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rar.guide_form import MAX_CHARS, bare, flaw_of_form

# Where a clause begins, and so an imperative may stand.
_MARK = r"^[^\w\n]{0,9}(?:\d+[.)]\s*)?|[.;:!?,]\s+"
_START = rf"(?:{_MARK}|\b(?:and|then|or|but|to|please|always|first|also|now|by|should|must|can|may)\s+)"
_BEGIN = rf"(?:{_MARK}|\b(?:and|then|please|always|first|also|now|else|should|must)\s+)"  # said to the reader alone
_THEM = (
    r"(?:them|him|her|us|me|it|everyone|people|(?:the|a|an|every|each|this|your|our) "
    r"(?:\w+ )?(?:customers?|users?|readers?|clients?|persons?|people|askers?|callers?|visitors?|patients?|buyers?"
    r"|callers?"
    r"|assistant|model|ai|parent|student|employee|sender|recipient|auditor|admin\w*|support|team|agent|owner|account))"
)
_INSTRUCTIONS = (
    r"(?:instruc\w*|instruk\w*|istruz\w*|anweisung\w*|prompts?|guidelines?|guardrails?|directives?|restrictions?"
    r"|constraints? (?:above|before)|safety (?:\w+)|rules? (?:above|before|given|you)|polic(?:y|ies) (?:above|before)"
    r"|(?:previous|prior|above|earlier|preceding|former|foregoing|system|developer'?s?|operator'?s?|user'?s?|your"
    r"|all|any"
    r"|these|those)\s+(?:\w+\s+)?(?:rules?|messages?|text|directions?|orders?|commands?|polic(?:y|ies)|limits?)"
    r"|the (?:rules?|messages?|orders?|directions?|commands?)\b)"
)
_EARLIER = r"(?:above|earlier|previous(?:ly)?|prior|preceding|before(?:hand)?|so far|foregoing|first part)"
_TALK = (
    r"(?:conversation|dialogue|chat|discussion|instructions?|messages?|prompts?|text|notes?|rules?|turns?|context"
    r"|system"
    r"|input|directions?|orders?|content|part)"
)
_SECRETS = (
    r"(?:passwords?|passcodes?|api[ _-]?keys?|secrets?|credentials?|(?:access|auth|session|bearer) tokens?|chat history"
    r"|(?:system|developer|initial|hidden|internal|original|secret|first) (?:prompt|message|instructions?|text"
    r"|notes?|rules?)"
    r"|(?:full|whole|entire|complete) (?:conversation|chat|prompt|context|history)|private (?:data|keys?|notes?)"
    r"|briefing|(?:prior|previous|earlier|past|other) (?:messages?|conversations?|chats?|turns?|users?)"
    r"|environment variables?|cookies|personal data|what (?:you|it) (?:were|was|have been) told|config(?:uration)?s?)"
)
_DATA = (
    r"(?:(?:credit |debit |bank |payment )?card(?:'s)? (?:number|details|data|code)|card's|cvv|cvc|security code"
    r"|expir(?:y|ation) date|pins?\b|pass ?words?|passcodes?|passphrases?|one[- ]time|otp\b|tan\b"
    r"|(?:verification|confirmation|access|sms|security|login|activation|backup|recovery) codes?"
    r"|codes? (?:from|in|sent|that|they|he|she|on)|log-?ins?\b|log-?in (?:data|details|name)|credentials?"
    r"|social security|ssn\b|tax id\w*|national insurance|dates? of birth|birth ?(?:day|date)|maiden name|passport"
    r"|id card"
    r"|(?:bank|account|routing|sort|iban) (?:details|number|data|code)s?|iban\b|wallet|seed phrase|private key"
    r"|(?:home|e-?mail|postal|street|ip|mail) address(?:es)?|(?:phone|mobile|telephone) numbers?|identity|salary"
    r"|medical record"
    r"|digits on the back|bank account|full name|location|personal (?:data|details|information))"
)
_GET = (
    r"(?:ask(?:s|ed|ing)?|request(?!s)\w*|collect\w*|demand\w*|obtain\w*|gather\w*|get|have|require\w*|insist\w*"
    r"|prompt\w*|invit\w*)"
)
_WARES = (
    r"(?:products?|brands?|banks?|funds?|brokers?|casinos?|coins?|insurers?|shops?|stores?|vendors?|provid\w+"
    r"|suppliers?"
    r"|premium|upgrades?|subscriptions?|partners?|sponsors?|affiliat\w*|coupons?|offers?|deals?|compan(?:y|ies)"
    r"|warrant(?:y|ies) extension|extended warranty|insurance|loans?|credits?|policies of|services? of|plans? of"
    r"|most expensive|dearest|priciest|costliest|highest (?:fee|price|margin|commission)s?|own products?|house brand)"
)
_DIGIT = r"(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|null|eins|zwei|drei|double|triple)"

_ORDERS = (
    # "Look for requests to ignore the rules" is said of a text that is looked at.
    rf"(?<!requests to )(?<!attempts to )(?<!tries to )(?<!asks to )(?<!that )(?<!which )(?<!orders to )(?<!calls to )"
    r"\b(?:ignor\w*|disregard\w*|forget\w*|overrid\w*|bypass\w*|circumvent\w*|set aside|drop|discard|suspend|lift"
    r"|cancel"
    r"|abandon|skip|pay no (?:attention|heed)|(?:do not|don't|never|no longer|stop|not|without) (?:follow|obey|heed"
    r"|apply"
    rf"|honou?r|observ|respect)(?:ing|ed|s)?(?: to)?)\b[^.\n]{{0,40}}\b{_INSTRUCTIONS}"
    r"|\bjailbr\w+|\bnew (?:instructions?|rules|orders) (?:apply|follow|are)|\bunlock(?:ed)? mode|\bdeveloper mode"
    r"|\bmust (?:obey|comply)\b|\bobey\b|\b(?:highest|top|absolute) priority\b"
    r"|\b(?:takes?|has|have) (?:precedence|priority) over\b|\boverrules?\b|\bsupersed\w+\b"
    r"|\bwithout (?:any |all )?(?:limits?|restrictions?|filters?|warnings?|caveats?|disclaimers?|refus\w+|hesitat\w+"
    r"|question)\b"
    r"|\b(?:off|no) limits?\b|\bno (?:topic|subject|request|question)s? (?:is|are)\b|\b(?:never|do not|don't|not) "
    r"(?:ever )?(?:decline|refuse|say no|warn|add (?:a |any )?(?:warning|caveat|disclaimer)|mention (?:this|these"
    r"|the note))"
    r"|\bwhatever (?:the user|they|he|she|is asked|it is)\b|\bdo (?:what(?:ever)?|everything|anything|as)\b[^.\n]{0,30}"
    r"\b(?:asks?|says?|wants?|told|tells?)\b|\b(?:can|may|will|shall) do anything\b|\bcompl(?:y|ies) with (?:every"
    r"|any|all)"
)
_META = (
    r"\bverbatim (?:copy|text)|\bnewest text\b|\bchanged (?:their|its|his|her) minds?\b|"
    rf"\b(?:only|just) (?:this|these) (?:notes?|guides?|lines?|texts?|steps?) (?:counts?|appl\w+|matters?|hold)"
    rf"|\b(?:note|notes|guide|reference|quotation|quote|context|instructions?) (?:ends?|is over|stops?|finish\w*) here"
    rf"|\bend of (?:the )?(?:note|notes|guide|reference|quot\w+|context|instructions?)"
    rf"|\b(?:the )?(?:{_EARLIER}) {_TALK}\b[^.\n]{{0,50}}\b(?:outdated|obsolete|withdrawn|void|cancel\w*|wrong"
    r"|invalid|draft"
    rf"|replaced|expired|revoked|no longer|not apply|not valid|superseded|mistaken|test|irrelevant)"
    rf"|\b{_TALK} (?:{_EARLIER})\b[^.\n]{{0,40}}\b(?:is|are|was|were|as|no|not)\b[^.\n]{{0,20}}"
    r"(?:outdated|obsolete|withdrawn|void|cancel\w*|wrong|invalid|draft|replaced|expired|revoked|longer|apply|valid"
    r"|superseded"
    r"|mistaken|test|irrelevant)"
    r"|\b(?:set aside|leave behind|wipe|put aside|unlearn)\b[^.\n]{0,20}\b(?:everything|anything|all|what|guidance)\b"
    r"|\b(?:guidance|everything|anything|text|words?|all)\b[^.\n]{0,30}\b(?:preced\w+|before this|came before"
    r"|stands above|agreed (?:on )?earlier)"
    rf"|\b(?:treat|consider|regard|view|deem)\b[^.\n]{{0,40}}\b{_TALK}\b[^.\n]{{0,30}}\bas (?:an? )?(?:draft|void"
    r"|withdrawn|test|example|mistake|joke|outdated)"
    rf"|\b(?:operator|developer|administrator|vendor|owner)(?:'s)? (?:text|message|update|prompt|notes?|rules?)\b"
    rf"[^.\n]{{0,20}}\b(?:is|are|was|were|has|have|says?|above)\b|\boperator update\b"
    r"|\b(?:you|it) (?:were|was|have been|has been) (?:told|given|instructed|asked)\b|\bwere told before\b"
    r"|\b(?:user'?s?|actual|real|true) (?:real |actual |true )?(?:request|task|question|instruction)s? "
    r"(?:follows?|is (?:this|as|the following|now|below)|begins?|starts?|below)"
    r"|\brest of (?:the|this) (?:conversation|chat|session|dialogue)"
    r"|\b(?:all|every|each|any|your|these|future|later) (?:\w+ )?(?:answers?|repl(?:y|ies)|responses?)\b"
    r"[^.\n]{0,20}\b(?:must|should|shall|will|have to|has to|need to|are to|is to|end|begin|start|contain|include)\b"
    r"|\brely on this|\bfrom now on\b|\bhenceforth\b|\bfrom here on\b"
)
_ROLES = (
    r"\byou(?:'re| are| were| will be| shall| must| should| have to| need to)\b|\byour (?:role|name|job|task|rules?"
    r"|identity"
    r"|training|new|real|true|purpose|persona|owner|developer|creator|maker|instructions?|system|character|opinion)"
    r"|\bpretend\w*|\bimpersonat\w+|\brole-?play\w*|\bin the (?:role|guise) of\b|\bclaim (?:to be|that you)\b"
    rf"|{_START}(?:act|behave|speak|talk|sound|respond|reply|answer|write|pose|present yourself|introduce yourself)\b"
    r"[^.\n,]{0,12}\b(?:as (?:if|though|an?|the)\b[^.\n]{0,40}\b(?:ai|assistant|admin\w*|root|developer|unrestricted"
    r"|hacker|dan|bank"
    r"|officer|salesm\w+|support|police|doctor|lawyer|agent|employee|expert|manager|were|was|person|official|friend)"
    r"|like an? \w+)"
    r"|\b(?:take on|adopt|assume|play|embody|become|switch (?:in)?to)\b[^.\n]{0,20}\b(?:persona|role|character"
    r"|identity|mode)"
    r"|\bpersona\b|\b(?:speak|talk|answer|write|reply)\w* (?:in the (?:manner|voice|style|tone|name) of"
    r"|on behalf of) (?:an?|the) "
)
_GIVING_AWAY = (
    r"\b(?:reveal|disclos|leak|exfiltrat|print|output|repeat|show|send|share|upload|post|forward|e?mail|quot"
    r"|cop(?:y|i)"
    r"|recit|includ|append|past|echo|display|dump|stat|list|expos|attach|writ|tell|giv|add|put)(?:e|es|ing|y|ying|s"
    r"|ting)?\b"
    rf"[^.\n]{{0,50}}\b(?!{_DATA}){_SECRETS}\b"
    r"|\b(?:repeat|recit|quot|print|output|copy|show|echo)\w*\b[^.\n]{0,20}\b(?:all|everything|what|whatever"
    r"|anything|the words)\b"
    r"[^.\n]{0,30}\b(?:told|given|said|before|above|received|instructed|know)\b"
    r"|\b(?:send|upload|forward|e?mail|post|transmit|submit)\b (?:it|this|them|everything|all|that)\b"
    r"|\bwith (?:the|this) (?:full |whole )?(?:conversation|chat|dialogue) to\b"
)
_ADDRESSES = (
    r"\b(?:https?|ftps?|file|javascript|data|mailto|tel|sms|ssh|wss?)\s?:\s?\S*[/@\d]|\bjavascript:|\bmailto:"
    r"|\bhxxps?\b"
    r"|\bwww\b|\]\(|!\[|[\w.+-]+\s?@\s?[\w-]+|\(at\)|\[at\]|\[dot\]|\(dot\)"
    r"|\b\w+ (?:dot|punkt|punto) (?:\w+)\b(?: slash| dot| com| org|$|[.,;])|\b\w+ dot (?:com|net|org|io|example|info"
    r"|shop|de|fr"
    r"|co|uk|ru|cn|me|app|dev|site|online|help|xyz|biz|eu|club|top|live|link|page|claim|test)\b|\bslash \w+"
    r"|\bat \S+ dot\b"
    r"|(?<![\w.])(?:[a-z0-9][a-z0-9-]*\.)+(?:com|net|org|io|ai|dev|app|xyz|ru|cn|info|sh|shop|store|online|site"
    r"|website|club"
    r"|top|live|link|page|example|test|biz|co|uk|de|fr|it|es|nl|pl|eu|us|me|tv|cc|gg|ly|to|help|support|claims?|news"
    r"|blog|pro|bank"
    r"|money|cash|vip|win|bid|today|world|tech|space|cloud|email|chat|agency|services?|center|gov|edu|mobi|onion"
    r"|invalid|local)"
    r"(?![\w(])|\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){4,}\b"
    r"|\+?\(?\d[\d()]*(?:[ ./-]\(?\d[\d()]*){2,}\d(?=\D|$)(?<=\d\d)|\d{6,}"
    rf"|\b{_DIGIT}(?:[ ,-]+{_DIGIT}){{4,}}\b|\b[a-z]{{2}}\d\d(?: ?[a-z\d]{{4}}){{2,}}\b"
    r"|\b(?:hotline|helpline|whatsapp|telegram|wechat|messenger group|discord|qr code|deep ?link|short ?link)\b"
    rf"|{_START}(?:call|dial|ring|phone|text|fax|sms)\b (?:up )?(?:{_THEM}|this|that|the|our|a|number|on|at|\+"
    r"|\d)\b(?! "
    r"(?:helper|function|method|constructor|procedure|routine|variable|unknown|result|price|side|number n|first"
    r"|second|other|base))"
    rf"|{_START}(?:visit|browse|click|tap|navigate|surf|go|log ?in|sign (?:in|up)|head"
    rf"|turn)\b[^.\n]{{0,20}}\b(?:page|site|website|link|url"
    r"|portal|form|homepage|web|shop|store|app|online|on(?:to)? (?:the|our))\b"
    rf"|\b(?:send|refer|direct|point|guide|lead|bring|redirect|invite|steer|take)\w*\b (?:{_THEM} )?(?:to|towards?"
    r"|on(?:to)?)\b"
    r"[^.\n]{0,20}\b(?:page|site|website|link|url|portal|form|homepage|web|shop|store|app|address|number|office|line"
    r"|hotline)\b"
    rf"|{_START}(?:write|reply|report|complain|mail|turn|apply) (?:in )?(?:to|at) (?:help|support|info|service"
    r"|claims?|us|our)\b"
    rf"|{_START}(?:contact|message|e-?mail|visit|telephone) (?:us\b|our|the (?:office|sender|number|address|page"
    r"|site|shop))"
)
_REQUESTS = (
    rf"\b{_GET}\b[^.\n]{{0,60}}\b{_DATA}|\b(?:confirm\w*|verif\w+|enter|type|provid\w+|giv\w+|suppl\w+|shar\w+|send"
    r"|submit|tell"
    rf"|repeat|read out|hand over|enclose|disclose|reveal)\b[^.\n]{{0,30}}\b(?:their|his|her|your|the (?:customer"
    r"|user|client)'?s?)\b"
    rf"[^.\n]{{0,25}}\b{_DATA}"
    rf"|\b(?:confirm|verify|proof of|confirmation of|prove)\b[^.\n]{{0,20}}\bidentity"
    r"|\b(?:ask|tell|request|have|make|urge|instruct|require|invite|advise|need|want|get|let|encourage|press"
    r"|suggest)\w*\b"
    r"[^.\n]{0,40}\b(?:to )?(?:pay\b(?! (?:attention|heed))|transfer|wire|remit|donate|prepay|buy\b|purchase"
    r"|send (?:money|\d)|deposit)"
    r"|\b(?:gift ?cards?|bitcoin|crypto ?currenc\w+|crypto wallet|western union|moneygram|paypal|venmo|cash app"
    r"|wire transfer"
    r"|advance fee|processing fee|release fee|customs fee|handling fee|small fee|the fee to|upfront)\b"
    rf"|{_START}(?:tell|remind|urge|instruct|command|persuade|convince|order|push|make|have) {_THEM}\b"
    rf"|\b(?:read out|dictate|spell out|pass on|hand over)\b[^.\n]{{0,20}}\bcodes?\b"
    rf"|{_START}ask {_THEM} (?:for|to)\b|{_START}ask for (?:their|his|her|the) "
)
_TOOLS = (
    r"\b(?:call|invoke|use|trigger|run|fire)\s+(?:the |an? |your )?(?:[\w.-]+ )?(?:tools?|plugins?|api|shell"
    r"|terminal|browser"
    r"|webhook|connector|mcp)\b|\b(?:call|invoke|use|trigger|run|execute|start)\s+(?:the |an? )?[a-z]+_\w+"
    r"|\b(?:run|execute|open)\s+(?:the |an? |this |your )?(?:[\w.-]+ )?(?:shell|terminal|bash|powershell|commands?"
    r"|scripts?)\b"
    r"(?! (?:line )?(?:twice|by hand|with))"
    r"|\b(?:tool|function)_calls?\b|\brm -r|\b(?:curl|wget|sudo|powershell|chmod|nc|ssh)\s+[\w/.-]+|\bos\.system\b"
    r"|\bsubprocess\b|\b(?:eval|exec)\(|\bdrop table\b|\{\s*\"(?:name|tool|function)\"\s*:"
    rf"|{_BEGIN}(?:delete|drop|erase|wipe|truncate|overwrite|purge|destroy|clear|empty|kill|deactivate)\b[^.\n]{{0,30}}"
    r"\b(?:records?|tables?|files?|folders?|director\w+|databases?|history|logs?|backups?|accounts?|disks?|users?"
    r"|servers?)\b"
    r"|\b(?:fetch|download|retriev|query|quer|read|load|open|access|get|request|pull"
    r"|call)\w*\b[^.\n]{0,40}\b(?:internal|metadata"
    r"|localhost|intranet|admin\w*|production|remote|home (?:folder|directory)|\.env|\.ssh|etc/|keychain|vault)\b"
    rf"|{_BEGIN}(?:send|transfer|post|upload|forward|publish|book|cancel|grant|approve|order|buy|subscribe|install"
    rf"|pay)\b[^.\n]{{0,30}}"
    r"\b(?:mails?|emails?|messages?|money|payments?|orders?|access|accounts?|permissions?|packages?|extensions?"
    r"|rights|conversation"
    r"|invoices?|refunds? to)\b|\bsend_\w+|\bdelete_\w+"
)
_ENCODED = (
    r"\b(?=[a-z0-9+/_-]{0,99}[a-z])(?=[a-z0-9+/_-]{0,99}\d)[a-z0-9+/_-]{24,}|\b[a-z0-9+/]{40,}|\b[a-z0-9+/]{20,}=="
    r"|(?:\\[xu][0-9a-f]{2,4}){3}|(?:&#x?[0-9a-f]+;){3}|(?:%[0-9a-f]{2}){3}|(?:\b0x[0-9a-f]{2}\b[ ,]*){3}"
    r"|\bwhat (?:this|these|it|the letters) spells?\b|\bfirst letters? of (?:each|every|the) (?:line|step|word"
    r"|sentence)|\b(?:[01]{8}[ ,]?){3}|\b(?:[0-9a-f]{2}[ :]){6}"
    r"|\b(?:de-?code|decipher|decrypt|unscramble|reverse|rot-?13|base-?64|backwards?|hex|morse|anagram|acrostic"
    r"|first letters|letters"
    r"|cipher)\b[^.\n]{0,40}\b(?:and|then|to) (?:do|follow|obey|execute|apply|run|act|carry)\b"
    r"|\b(?:do|follow|obey|execute|act on)\b[^.\n]{0,20}\b(?:letters|decoded|hidden|cipher|reversed"
    r"|backwards?)\b[^.\n]{0,12}"
    r"|(?<![a-z])[a-z](?:[-._*/\\|~+=:][a-z]){4,}(?![a-z])|(?<![a-z'])[a-z](?: [a-z]){4,}(?![a-z])"
)
_MARKUP = (
    r"</?[a-z!][^<>\n]{0,60}>|<\s*/\s*\w+\s*>|<\||\|>|<</?sys>>|\[/?(?:inst|system|assistant|user|tool)\]|```|~~~"
    r"|^[^\w\n]{0,9}#+\s|<!--"
    r"|^[^\w\n]{0,9}(?:\d+[.)]\s*)?(?:system|assistant|user|human|developer|operator|tool|ai|admin)\s*[:=>]"
    r"|\brole\s*[=:]|\bcontent\s*[=:]"
    r"|^\s*[-=_*]{3,}\s*$|\{\{|\}\}|\breference[_ ]notes\b|^\|.*\|$"
)
_STEERING = (
    r"\b(?:prefer\w*|favou?r\w*|promot\w+|prais\w+|endors\w+|advertis\w+|recommend\w*|suggest\w*|push\w*|plug"
    r"|upsell\w*|cross-?sell\w*"
    r"|steer\w*|choos\w+|pick|mention\w*|name|sell|buy|offer|present|highlight|rank|list"
    rf"|put)\b[^.\n]{{0,25}}\b{_WARES}\b[^.\n]{{0,60}}"
    r"\b(?:first|best|safest|only|once|always|top|better|superior|cheapest|fee|fees|trust\w*|which|since|as|over"
    r"|above|instead|every)\b"
    r"|\b(?:prefer|promote|praise|endorse|advertise|upsell|plug)\b (?:the |our |this )?(?:products?|brands?"
    r"|services?|shop|company|bank)\b"
    r"|\b(?:advertis\w+|slogan|sponsored?|brand) (?:for|of|by|message|text)\b|\bbuy (?:from|at|now|only)\b"
    r"|\bbadmouth|\bdisparag\w+"
    r"|\b(?:competitors?|rivals?)\b[^.\n]{0,40}\b(?:unsafe|bad|worse|fraud\w*|avoid|poor|unreliable|dangerous|never)\b"
    r"|\b(?:vote|ballot|voting)\b[^.\n]{0,20}\bfor\b|\b(?:votes?|elections?|ballots?"
    r"|polls?)\b[^.\n]{0,40}\b(?:forg\w+|rigg\w+|stolen|fraud\w*"
    r"|fake|manipulat\w+|pointless|worthless|useless|invalid|unsafe|cheat\w*)"
    r"|\b(?:party|candidate|president|government|minister|chancellor|politician)s?\b[^.\n]{0,40}\b(?:best|better"
    r"|corrupt|lie[sd]?|liars?"
    r"|right|only|support\w*|praise\w*|superior|criminal|traitor\w*|dangerous|trust\w*|blame\w*)\b"
    r"|\b(?:blame|praise|support|oppose|attack|criticise|criticize)\b[^.\n]{0,20}\b(?:party|candidate|president"
    r"|government|immigrants?"
    r"|foreigners?|migrants?|refugees?|jews?|muslims?|women|minorit\w+|union|regime)"
    r"|\b(?:crimes?|thefts?|violence)\b[^.\n]{0,20}\b(?:by|of) (?:immigrants?|foreigners?|migrants?|refugees?)"
    r"|\b(?:immigrants?|foreigners?|newcomers?|migrants?|refugees?|jews?|muslims?|women|men|blacks?|whites?|roma"
    r"|gays?)\b[^.\n]{0,40}\b(?:inferior"
    r"|crimes?|criminals?|dangerous|lazy|dirty|less (?:able|capable|intelligent)|steal\w*|cheat\w*|dishonest"
    r"|unsuited|belong)"
    r"|\bvaccin\w+\b[^.\n]{0,40}\b(?:harm\w*|dangerous|autism|hoax|unnecessary|poison\w*|useless|avoid)|\b(?:climate"
    r"|warming|holocaust|covid|pandemic)\b"
    r"[^.\n]{0,30}\b(?:hoax|lie|myth|invented|exaggerated|fake)"
    r"|\bdos(?:e|es|age|ages|ing)\b[^.\n]{0,50}\b(?:doubl\w+|tripl\w+|too low|too small|exceed\w*|higher than"
    r"|may be (?:raised|increased))"
    r"|\b(?:double|triple|exceed|increase)\b[^.\n]{0,20}\b(?:dos(?:e|es|age)|medicine|medication|limit on the package)"
    r"|\b(?:no|not|without|instead of|never|needless|unnecessary|skip)\b[^.\n]{0,20}\b(?:see|ask|consult"
    r"|call)\w*\b[^.\n]{0,12}\b(?:doctor|physician"
    r"|pharmacist|lawyer|ambulance|police|professional)"
    r"|\b(?:stop|skip|replace)\b[^.\n]{0,15}\b(?:medication|medicine|insulin|treatment|antibiotics?|chemotherapy)\b"
    r"|\b(?:join|concatenat|interpolat|past|insert|build|splic|embed|put|append|format)\w*\b[^.\n]{0,40}\b(?:user\w*"
    r"|input|text|value|parameter)"
    r"[^.\n]{0,25}\b(?:into|to|in|with|inside) (?:the |an? )?(?:sql|query|shell|command|html|statement|eval|script)"
    r"|\b(?:disabl|skip|turn off|switch off|ignor|bypass|remov|omit|avoid|drop"
    r"|leave out)\w*\b[^.\n]{0,25}\b(?:verification|certificate\w*|ssl|tls"
    r"|authenti\w+|authori[sz]\w+|security|escap\w+|sanit\w+|encryption|password check|signature check|csrf|firewall"
    r"|safety|input validation)"
    r"|\b(?:user\w*|input|words|text|values?)\b[^.\n]{0,12}\b(?:straight|raw|unescaped|unquoted"
    r"|unchecked)\b[^.\n]{0,12}\b(?:in|into|between|to)\b"
    r"|\b(?:only|our) (?:own |only )?(?:our |premium |partner )?(?:products?|shops?|partners?|apps?|stores?"
    r"|services?|banks?|insurances?|accounts?|premium)\b"
    r"|\b(?:antibiotics?|medication|medicine|insulin|treatment)\b[^.\n]{0,25}\b(?:stopped|skipped|halved|doubled|ended)"
    r"|\bverify\s?=\s?false|\bchmod 777|\bplain ?text passwords?|\bpasswords? in (?:plain|clear)"
    r"|\bhard-?code\w*\b[^.\n]{0,20}\b(?:password|key|secret)"
    r"|\b(?:never|do not|don't|refuse to|decline to|deny|discourage|prevent|hide|conceal|withhold|not)\b[^.\n]{0,15}"
    r"\b(?:offer\w*|giv\w+|grant\w*|mention\w*|accept\w*|pay\w*|honou?r\w*|disclos\w*|admit\w*|tell\w*|inform\w*"
    r"|reveal\w*|allow\w*|ask\w*|claim\w*|any|every|each|the|that)\b"
    r"[^.\n]{0,25}\b(?:refunds?|returns?|rights?|warrant\w+|compensation|cancel\w*|complain\w*|risks?|side effects?"
    r"|warnings?"
    r"|alternatives?|competit\w+|recalls?|defects?|dangers?|fees?|free (?:plan|option)|cheaper)\b"
    r"|\b(?:even (?:where|if|when|though)|although|despite|regardless of|against|whatever)\b[^.\n]{0,20}\b(?:law"
    r"|legal\w*|illegal\w*|right|entitled|contract)\b"
    r"|\b(?:say|state|claim|tell|answer|pretend|insist|reply|assert|add|mention"
    r"|write)\b[^.\n]{0,20}\bthat\b[^.\n]{0,40}\b(?:has (?:passed|expired|ended)"
    r"|is (?:too late|closed|over|final|not possible|impossible|sold out|always|never|safe|harmless|outdated"
    r"|the best|superior|fine|mandatory|required by)"
    r"|are (?:harmless|safe|always|never|forged|usually|too)|(?:can|will) never|does no harm|\bonly (?:our"
    r"|the premium)|exaggerated|a waste"
    r"|(?:is|are) (?:enough|useless|unnecessary|pointless|overrated)|cannot be trusted|no longer|cannot be"
    r"|was discontinued|must (?:pay|buy|call|be paid))"
    r"|\balways\b[^.\n]{0,10}\b(?:say|answer|reply|approve|deny|refuse|agree|recommend|choose|pick|state)\b (?:yes"
    r"|no|that|with|the (?:first|last))"
)
_GIVEN_AWAY = (
    r"(?<!if )(?<!whether )(?<!that )(?<!unless )(?<!until )(?<!when )\b(?:the|its|correct|right|final) (?:correct "
    r"|right |final )?(?:answer|solution) "
    r"(?:is|here is|must be|will (?:always )?be|equals|reads)\b(?! (?:not|always|a|an|in|to|given|expressed|exact"
    r"|whole|needed|asked|wanted|required"
    r"|known|positive|negative|clear|short|found|plausible|too|one word)\b)"
    r"|\b(?:answer|result|total|sum|solution)\b is (?:always )?(?:exactly )?(?:\w+-)?(?:one|two|three|four|five|six"
    r"|seven|eight|nine|ten|eleven|twelve"
    r"|\w+teen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand)\b"
    r"|\b(?:name|word|answer|term|city|town|country|it)\b[^.\n]{0,20}\b(?:begins|starts|ends|rhymes|spelled"
    r"|spelt)\b[^.\n]{0,20}\b(?:with|in)\b"
    r"[^.\n]{0,30}|\brhymes with\b|\bspelled (?:with|as|out)\b|\bits letters are\b|\b(?:choose|pick|select|take|tick"
    r"|mark) (?:option |letter |answer |choice )?"
    r"(?:the )?(?:[a-e]\b(?![\w'-])(?! \w)|first option|(?:first|second|third|fourth|last) (?:choice|option"
    r"|answer)[.\n]|(?:first|second|third|fourth|last) (?:choice|option|answer)$)|\bsounds like\b"
    r"|\b(?:answer|reply|respond|say) (?:with )?(?:\"|')?(?:yes|no|true|false)(?:\"|')?(?: in (?:any|every) case"
    r"| always| regardless|$|[.\n])"
)
_LANGUAGES = (
    # Orders about earlier text, and words for secrets, in the languages that models read best.
    r"\b(?:ignor\w+|missacht\w+|vergiss|vergessen sie|befolge\w* (?:nicht|keine))\b[^.\n]{0,40}\b(?:anweisung\w*"
    r"|vorgaben?|regeln?|obige\w*|bisherig\w*|vorherig\w*"
    r"|hinweis\w*)|\bgib\b[^.\n]{0,30}\baus\b|\b(?:oublie\w*|ignore\w*|ne (?:tenez|tiens)\b[^.\n]{0,20}\bcompte"
    r"|neglige\w*)\b[^.\n]{0,40}"
    r"\b(?:consignes?|instructions?|regles?|precede\w+|ci-dessus|avant|ordres?)\b|\b(?:haz|haga) caso omiso\b"
    r"|\b(?:ignor\w+|olvid\w+|descart\w+)\b[^.\n]{0,40}\b(?:instruc\w+|reglas|anterior\w*|indicaciones|previ\w+)"
    r"|\b(?:ignor\w+|dimentic\w+|trascur\w+)\b[^.\n]{0,40}\b(?:istruzion\w*|regole|precedent\w*|indicazioni)"
    r"|\b(?:esque\w+|desconsider\w+|ignor\w+)\b"
    r"[^.\n]{0,40}\b(?:instruc\w+|regras|anterior\w*)|\bnegeer\b|\bzignoruj\b|\bzapomnij\b"
    r"|\bohne (?:jede )?(?:einschrankung|grenzen)|\bsans (?:aucune )?(?:restriction|limite)"
    r"|\bsin (?:restricci\w+|limites)|\b(?:passwort\w*|kennwort\w*|kreditkart\w*|kartennummer\w*|zugangsdaten"
    r"|mots? de passe|carte bancaire|numero de (?:la )?(?:carte|tarjeta)"
    r"|contrasena\w*|tarjeta|clave secreta|carta di credito|numero della carta|senha|cartao|wachtwoord|hasl[oa]"
    r"|пин-?код\w*)\b(?=[^\n]*)"
    r"|忽略|无视|無視|不要遵守|不必遵守|不用遵守|请忘记|忘记(?:之前|以上|上面)|上面的(?:规定|指令|规则|指示)|以上(?:指令|规定|指示)|之前的(?:指令|规定|指示)|(?:提供|询问|索取|输入"
    r"|要求).{0,6}(?:密码|口令|验证码|卡号|身份证|银行卡)"
    r"|これまでの指示|以前の指示|上記の指示|指示(?:は|を)(?:無視|忘れ)|パスワード|暗証番号|カード番号"
    r"|クレジットカード|무시(?:하|해)|비밀번호|카드 ?번호"
    r"|игнорир\w*|забудь\w*|не (?:следуй|соблюдай|обращай)\w*|парол\w*|номер карты|код из смс|تجاهل|كلمة المرور|"
    r"\bresponde(?:z|r)? (?:solo|solamente|uniquement|seulement|sans)|\bantworte\w* (?:nur|immer|stets) (?:mit|auf)"
    r"|\brepondez (?:uniquement|seulement|sans|toujours)"
)
_SUSPICIOUS = {
    "it imitates the marks of a prompt": _MARKUP,
    "it gives orders": _ORDERS,
    "it speaks about the conversation": _META,
    "it assigns a role": _ROLES,
    "it asks to give something away": _GIVING_AWAY,
    "it contains a link or an address": _ADDRESSES,
    "it asks for data or money": _REQUESTS,
    "it commands tools": _TOOLS,
    "it contains encoded data": _ENCODED,
    "it steers": _STEERING,
    "it gives the answer away": _GIVEN_AWAY,
    "it gives orders in another language": _LANGUAGES,
}
_PATTERNS = {reason: re.compile(pattern, re.IGNORECASE | re.MULTILINE) for reason, pattern in _SUSPICIOUS.items()}
# A fixed text as the answer: a word in capitals or quotes, "and nothing else".
_FIXED_TEXT = re.compile(
    # Somebody's name that is to be preferred, or to be mentioned in any case.
    r"(?i:\b(?:prefer|favou?r|promote|praise|push|plug|advertise|endorse|recommend"
    r"|buy)) (?:[a-z]+ ){0,4}[A-Z][a-z]+\b(?!'| (?:method|rule|test|theorem))"
    r"|(?i:\b(?:mention|put|name|list|praise|place)) (?:[a-z]+ ){0,3}[A-Z][a-z]+[^.\n]{0,30}\b(?:once|first|on top"
    r"|always|every|at the (?:top|end))\b|"
    r"(?i:\b(?:reply|answer|respond|say|write|end|finish|close|begin|output|sign))\b[^.\n]{0,40}(?i:\b(?:word|words"
    r"|term|phrase|sentence|text|line|slogan|message))"
    r" (?:[\"'][^\"'\n]{1,60}[\"']|[A-Z]{2,})|(?i:\band nothing else\b)|(?i:\b(?:end|finish|close|begin"
    r"|start)\b (?:the |each |every |all )?(?:\w+ )?"
    r"(?:answers?|repl(?:y|ies)|responses?) (?:with|by)) (?:[\"'A-Z]|(?i:repeat|quot|print|show|say))|(?i:\b(?:with"
    r"|by) Buy\b)"
)
_SQUEEZED = re.compile(
    r"(?:ignor(?:e|ing)|disregard|forget|override|bypass)(?:all|any|the|your|every|these|those|what|everything"
    r"|of)*(?:previous|prior|above|earlier|instruction|rules|system)"
    r"|(?:print|reveal|show|output|repeat|quote)(?:the|your|its)?(?:whole|full|hidden)?systemprompt|youarenow"
    r"|revealyour|previousinstructions|obeythe|passwort|jailbreak"
)
_LEET = str.maketrans("013457@$!", "oieastasi")
_LEET_WORD = re.compile(r"\b(?=\w{0,20}[a-z])(?=\w{0,20}[013457@$!])[\w@$!]{4,20}")


def guide_flaw(text: str) -> str | None:
    """Why no guide may have this text, whatever it was written for; None if one may. Cheap for texts seen before."""
    if len(text) > MAX_CHARS:  # never kept in the cache
        return flaw_of_form(text)
    return _flaw(text)


@lru_cache(maxsize=4_096)
def _flaw(text: str) -> str | None:
    return flaw_of_form(text) or flaw_of_text(text)


def flaw_of_text(text: str) -> str | None:
    """Why this text may not stand in a guide; None if nothing was found."""
    plain = bare(text)
    for reason, pattern in _PATTERNS.items():
        if pattern.search(plain):
            return reason
    if _FIXED_TEXT.search(plain):
        return "it fixes what is answered or names somebody"
    lower = plain.lower()
    joined = re.sub(r"\s+", " ", lower)
    unmasked = _LEET_WORD.sub(lambda word: word[0].translate(_LEET), joined)
    if any(_PATTERNS["it gives orders"].search(variant) for variant in (joined, unmasked, joined[::-1])):
        return "it gives orders"
    squeezed = re.sub(r"[\W_]+", "", lower)
    return "it gives orders" if _SQUEEZED.search(squeezed) or _SQUEEZED.search(squeezed[::-1]) else None
