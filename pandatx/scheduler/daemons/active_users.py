"""panda_activeusers_query: proxies of active users, and access tokens of clients, kept fresh."""

from __future__ import annotations

from attrs import Factory, define

from pandatx.scheduler.context import Context
from pandatx.scheduler.idle import Idle
from pandatx.services.token_cache import TokenCache
from pandatx.services.user_proxies import UserProxies


@define(eq=False)
class ActiveUsers:
    """The two have nothing to do with each other; each is done where it is configured."""

    _proxies: UserProxies
    _tokens: TokenCache
    _no_proxies: Idle = Factory(Idle)
    _no_tokens: Idle = Factory(Idle)

    async def run(self, context: Context) -> bool:
        try:
            await self._renew_tokens(context)
        finally:
            idle = await self._renew_proxies(context)
        return idle

    async def _renew_tokens(self, context: Context) -> None:
        renewed = await self._tokens.refresh()
        if renewed is None:
            self._no_tokens.say(context, f"no tokens are kept, token_cache_config {self._tokens.config} does not exist")
        else:
            self._no_tokens.over()
            context.did(tokens=renewed.tokens, tokens_failed=renewed.failed, keys=renewed.keys)

    async def _renew_proxies(self, context: Context) -> bool:
        if not self._proxies.configured:
            return self._no_proxies.say(context, "no proxies are kept, [pandatx] proxy_plugin is not set")
        kept = await self._proxies.refresh(context.breathe)
        context.did(proxies=kept.fetched, proxies_failed=kept.failed, proxies_removed=kept.removed)
        return False
