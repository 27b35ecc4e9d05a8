"""The structure of the messages that are read: names, order and which elements must be there.

The facts are those of the published schemas; what the reader does not use is known here by name and place only.
"""

from __future__ import annotations

from clearspan.iso20022.nodes import Sequence
from clearspan.iso20022.types import NAMESPACE_PREFIX, MessageKind

__all__ = ["HEADER", "HEADER_AGENT", "HEADER_INSTITUTION", "HEADER_NAMESPACE", "HEADER_PARTY", "SCHEMAS", "Schema"]

HEADER_NAMESPACE = NAMESPACE_PREFIX + "head.001.001.02"

HEADER = Sequence(
    HEADER_NAMESPACE,
    "CharSet Fr To BizMsgIdr MsgDefIdr BizSvc MktPrctc CreDt BizPrcgDt CpyDplct PssblDplct Prty Sgntr Rltd",
    required=("Fr", "To", "BizMsgIdr", "MsgDefIdr", "CreDt"),
    repeatable=("Rltd",),
)
HEADER_PARTY = Sequence(HEADER_NAMESPACE, "OrgId FIId")
_AGENT = "FinInstnId BrnchId"
_INSTITUTION = "BICFI ClrSysMmbId LEI Nm PstlAdr Othr"
HEADER_AGENT = Sequence(HEADER_NAMESPACE, _AGENT, required=("FinInstnId",))
HEADER_INSTITUTION = Sequence(HEADER_NAMESPACE, _INSTITUTION)

_GROUP = "MsgId CreDtTm BtchBookg NbOfTxs CtrlSum TtlIntrBkSttlmAmt IntrBkSttlmDt SttlmInf PmtTpInf InstgAgt InstdAgt"
_SETTLEMENT_INFORMATION = (
    "SttlmMtd SttlmAcct ClrSys InstgRmbrsmntAgt InstgRmbrsmntAgtAcct InstdRmbrsmntAgt InstdRmbrsmntAgtAcct "
    "ThrdRmbrsmntAgt ThrdRmbrsmntAgtAcct"
)
_PAYMENT_ID = "InstrId EndToEndId TxId UETR ClrSysRef"
_PAYMENT_TYPE = "InstrPrty ClrChanl SvcLvl LclInstrm CtgyPurp"
_AGENTS_BEFORE = "PrvsInstgAgt1 PrvsInstgAgt1Acct PrvsInstgAgt2 PrvsInstgAgt2Acct PrvsInstgAgt3 PrvsInstgAgt3Acct"
_AGENTS_BETWEEN = (
    "InstgAgt InstdAgt IntrmyAgt1 IntrmyAgt1Acct IntrmyAgt2 IntrmyAgt2Acct IntrmyAgt3 IntrmyAgt3Acct UltmtDbtr"
)
_SETTLEMENT = "PmtId PmtTpInf IntrBkSttlmAmt IntrBkSttlmDt SttlmPrty SttlmTmIndctn SttlmTmReq"
_PARTIES = (
    "Dbtr DbtrAcct DbtrAgt DbtrAgtAcct CdtrAgt CdtrAgtAcct Cdtr CdtrAcct UltmtCdtr InstrForCdtrAgt InstrForNxtAgt"
)
_CUSTOMER_TRANSFER = (
    f"{_SETTLEMENT} AccptncDtTm PoolgAdjstmntDt InstdAmt XchgRate ChrgBr ChrgsInf {_AGENTS_BEFORE} {_AGENTS_BETWEEN} "
    f"InitgPty {_PARTIES} Purp RgltryRptg Tax RltdRmtInf RmtInf SplmtryData"
)
_INSTITUTION_TRANSFER = (
    f"{_SETTLEMENT} {_AGENTS_BEFORE} {_AGENTS_BETWEEN} {_PARTIES} Purp RmtInf UndrlygCstmrCdtTrf SplmtryData"
)
_TRANSFERS: dict[MessageKind, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    MessageKind.CUSTOMER_CREDIT_TRANSFER: (
        _CUSTOMER_TRANSFER,
        ("PmtId", "IntrBkSttlmAmt", "ChrgBr", "Dbtr", "DbtrAgt", "CdtrAgt", "Cdtr"),
        ("ChrgsInf", "InstrForCdtrAgt", "InstrForNxtAgt", "RgltryRptg", "RltdRmtInf", "SplmtryData"),
    ),
    MessageKind.INSTITUTION_CREDIT_TRANSFER: (
        _INSTITUTION_TRANSFER,
        ("PmtId", "IntrBkSttlmAmt", "Dbtr", "Cdtr"),
        ("InstrForCdtrAgt", "InstrForNxtAgt", "SplmtryData"),
    ),
}


class Schema:
    """What one kind of message looks like: a sequence for every element whose children are read."""

    __slots__ = (
        "account",
        "account_id",
        "account_other",
        "agent",
        "body",
        "choice",
        "document",
        "group",
        "institution",
        "kind",
        "party",
        "payment_id",
        "payment_type",
        "remittance",
        "remittance_line",
        "settlement",
        "transfer",
    )

    def __init__(self, kind: MessageKind) -> None:
        """Qualify every name once."""
        space = kind.namespace
        children, required, repeatable = _TRANSFERS[kind]
        self.kind = kind
        self.document = Sequence(space, kind.body, required=(kind.body,))
        self.body = Sequence(
            space,
            "GrpHdr CdtTrfTxInf SplmtryData",
            required=("GrpHdr", "CdtTrfTxInf"),
            repeatable=("CdtTrfTxInf", "SplmtryData"),
        )
        self.group = Sequence(space, _GROUP, required=("MsgId", "CreDtTm", "NbOfTxs", "SttlmInf"))
        self.settlement = Sequence(space, _SETTLEMENT_INFORMATION, required=("SttlmMtd",))
        self.payment_id = Sequence(space, _PAYMENT_ID, required=("EndToEndId",))
        self.payment_type = Sequence(space, _PAYMENT_TYPE, repeatable=("SvcLvl",))
        self.transfer = Sequence(space, children, required=required, repeatable=repeatable)
        self.agent = Sequence(space, _AGENT, required=("FinInstnId",))
        self.institution = Sequence(space, _INSTITUTION)
        self.party = Sequence(space, "Nm PstlAdr Id CtryOfRes CtctDtls")
        self.account = Sequence(space, "Id Tp Ccy Nm Prxy", required=("Id",), reason_iso="AC01")
        self.account_id = Sequence(space, "IBAN Othr")
        self.account_other = Sequence(space, "Id SchmeNm Issr", required=("Id",), reason_iso="AC01")
        self.choice = Sequence(space, "Cd Prtry")
        self.remittance = Sequence(space, "Ustrd Strd", repeatable=("Ustrd", "Strd"))
        self.remittance_line = f"{{{space}}}Ustrd"


SCHEMAS: dict[str, Schema] = {kind.namespace: Schema(kind) for kind in MessageKind}
