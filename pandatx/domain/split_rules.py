"""The tags of a task's split rule, ``NF=2,US=1``, and what they mean (reference/lifecycle.md 7.4)."""

from __future__ import annotations

import re
from typing import Final

NAMES: Final = dict(
    pair.split(":")
    for pair in """
    AE:allowEmptyInput AI:allowIncompleteInDS AN:addNthFieldToLFN AP:allowPartialFinish AT:altStageOut AV:avoidVP
    CC:maxCoreCount CV:cloudAsVO DE:ddmBackEnd DF:disableAutoFinish DI:disableReassign DM:debugMode
    DR:disableAutoRetry DY:dynamicNumEvents EC:nEsConsumers EI:nEventsPerInput EJ:encJobParams ES:nEventsPerWorker
    FC:firstContentsFeed FG:failGoalUnreached FP:fineGrainedProc FT:firstEvent FU:fullChain GB:groupBoundaryID
    HO:hpoWorkflow IA:instantiateTmplSite IF:inFilePosEvtNum IK:ipStack IL:allowInputLAN IM:ignoreMissingInDS
    IN:intermediateTask IP:ipConnectivity IS:inputPreStaging IT:instantiateTmpl IW:allowInputWAN LC:noLoopingCheck
    LI:useLocalIO LS:limitedSites LX:loadXML MC:minCpuEfficiency MD:messageDriven ME:mergeEsOnOS MF:nMaxFilesPerJob
    MJ:maxJumboPerSite MN:maxNumJobs MO:mergeOutput MS:multiStepExec MW:maxWalltime MX:maxEventsPerJob
    NC:noExecStrCnv ND:notDiscardEvents NE:nEventsPerJob NF:nFilesPerJob NG:nGBPerJob NI:noInputPooling NJ:nJumboJobs
    NP:noAutoPause NS:nSitesPerJob NT:nChunksToWait NW:noWaitParent OI:orderInputBy OL:orderByLB OM:onSiteMerging
    OS:osMatching OT:onlyTagsForFC PC:pushStatusChanges PJ:pushJob PL:pfnList PO:putLogToOS RC:runUntilClosed
    RD:registerDatasets RE:registerEsFiles RL:respectLB RM:retryModuleRules RO:reuseSecOnDemand RP:releasePerLB
    RR:respectSplitRule RS:randomSeed RX:retryRamOffset RY:retryRamStep RZ:retryRamMax SC:resurrectConsumers
    SE:switchEStoNormal SO:stayOutputOnSite SS:scoutSuccessRate ST:useSecrets SW:segmentedWork TJ:totNumJobs
    TN:tgtMaxOutputForNG TW:t1Weight UB:useBuild UC:useJobCloning UE:useRealNumEvents UF:useFileAsSourceLFN
    UP:usePrePro US:useScout UT:usePrefetcher UX:useExhausted UZ:useZipToPin WF:writeInputToFile WH:workflowHoldup
    WI:waitInput XA:maxAttemptES XF:decAttOnFailedES XJ:maxAttemptEsJob ZE:nEventsPerMergeJob ZF:nFilesPerMergeJob
    ZG:nGBPerMergeJob ZM:nMaxFilesPerMergeJob
    """.split()
)
"""The name of each tag."""
VALUES: Final = {
    "AT": {"1": "on", "2": "off", "3": "force"},
    "FC": {"0": "False", "1": "True"},
    "FU": {"1": "only", "2": "require", "3": "capable"},
    "IK": {"4": "IPv4", "6": "IPv6"},
    "IL": {"1": "use", "2": "only"},
    "IP": {"1": "full", "2": "http"},
    "IS": {"0": "notUse", "1": "use"},
    "LS": {"1": "with_allowlist", "2": "with_denylist", "3": "with_allow_and_denylist"},
    "OI": {"1": "eventsAlignment"},
    "RD": {"1": "registering", "2": "registered", "3": "moving"},
    "UP": {"1": "toPreProcess", "2": "preProcessed", "3": "postPProcess"},
    "US": {"1": "no_use", "2": "will_update_requirements", "3": "updated_requirements"},
}
"""What the values of some tags stand for."""
_LISTS: Final = ("AN",)
_TAG: Final = re.compile(r"([A-Z]{2})=(.*)", re.DOTALL)


def in_words(rule: str | None) -> str | None:
    """A split rule with the names of its tags: ``nFilesPerJob=2,useScout=no_use``. What is no known tag stays.

    The one tag whose value is a list with commas has it with underscores, so that a comma always parts two rules.
    """
    if not rule:
        return rule
    found: list[tuple[str, str]] = []
    for token in rule.split(","):
        match = _TAG.fullmatch(token)
        if match and match[1] in NAMES:
            found.append((match[1], match[2]))
        elif found and found[-1][0] in _LISTS:
            found[-1] = (found[-1][0], f"{found[-1][1]}_{token}")
        else:
            found.append(("", token))
    return ",".join(f"{NAMES[tag]}={VALUES.get(tag, {}).get(value, value)}" if tag else value for tag, value in found)
