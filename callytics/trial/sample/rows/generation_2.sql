-- The rows of generation 2.

-- name: before
-- The three code tables, as the application fills them when it starts.
insert into business_type_codes (code, name, description, created_at) values
    ('FEE_INFO', '요금 안내', '요금제 안내, 요금 계산, 요금 문의 등', '2024-06-20 03:16:16'),
    ('FEE_PAYMENT', '요금 납부', '납부 방법, 납부 확인, 납부 오류 등', '2024-06-20 03:16:16'),
    ('PLAN_CHANGE', '요금제 변경', '요금제 변경 신청, 변경 안내, 변경 처리 등', '2024-06-20 03:16:16'),
    ('SELECTIVE_DISCOUNT', '선택약정 할인', '선택약정 신청, 할인 혜택, 약정 조건 등', '2024-06-20 03:16:16'),
    ('PAYMENT_METHOD_CHANGE', '납부 방법 변경', '자동이체, 신용카드, 현금납부 등 납부 방법 변경', '2024-06-20 03:16:16'),
    ('ADDITIONAL_SERVICE', '부가서비스 안내', '부가서비스 소개, 가입 안내, 요금 안내 등', '2024-06-20 03:16:16'),
    ('MICRO_PAYMENT', '소액 결제', '소액결제 신청, 결제 확인, 결제 오류 등', '2024-06-20 03:16:16'),
    ('PHONE_SUSPENSION_LOSS_DAMAGE', '휴대폰 정지 분실 파손', '기기 정지, 분실 신고, 파손 처리 등', '2024-06-20 03:16:16'),
    ('DEVICE_CHANGE', '기기변경', '기기 교체, 기기 업그레이드, 기기 이전 등', '2024-06-20 03:16:16'),
    ('NAME_NUMBER_USIM_CANCEL', '명의 번호 유심 해지', '명의 변경, 번호 변경, 유심 해지 등', '2024-06-20 03:16:16'),
    ('OTHER', '그 외 업무유형', '기타 통신사 관련 업무', '2024-06-20 03:16:16');

insert into classification_type_codes (code, name, description, created_at) values
    ('CONSULTATION_TOPIC', '상담 주제', '상담의 주요 주제 분류', '2024-06-20 03:16:16'),
    ('CONSULTATION_REQUIREMENT', '상담 요건', '상담 요건의 복잡도 분류', '2024-06-20 03:16:16'),
    ('CONSULTATION_CONTENT', '상담 내용', '상담 내용의 성격 분류', '2024-06-20 03:16:16'),
    ('CONSULTATION_REASON', '상담 사유', '상담 발생 사유 분류', '2024-06-20 03:16:16'),
    ('CONSULTATION_RESULT', '상담 결과', '상담 결과 평가 분류', '2024-06-20 03:16:16');

insert into detail_classification_codes (classification_type_code, code, name, description, created_at) values
    ('CONSULTATION_TOPIC', 'PRODUCT_SERVICE_GENERAL', '상품 및 서비스 일반', '상품 및 서비스에 대한 일반적인 문의', '2024-06-20 03:16:16'),
    ('CONSULTATION_TOPIC', 'ORDER_PAYMENT_DEPOSIT_CONFIRM', '주문 결제 입금 확인', '주문, 결제, 입금 관련 확인 문의', '2024-06-20 03:16:16'),
    ('CONSULTATION_TOPIC', 'CANCEL_RETURN_EXCHANGE_REFUND_AS', '취소 반품 교환 환불 AS', '취소, 반품, 교환, 환불, AS 관련 문의', '2024-06-20 03:16:16'),
    ('CONSULTATION_TOPIC', 'MEMBER_MANAGEMENT', '회원 관리', '회원 정보 관리, 계정 관련 문의', '2024-06-20 03:16:16'),
    ('CONSULTATION_TOPIC', 'DELIVERY_INQUIRY', '배송 문의', '배송 관련 문의 및 문제', '2024-06-20 03:16:16'),
    ('CONSULTATION_TOPIC', 'EVENT_DISCOUNT', '이벤트 할인', '이벤트, 할인, 프로모션 관련 문의', '2024-06-20 03:16:16'),
    ('CONSULTATION_TOPIC', 'CONTENT', '콘텐츠', '콘텐츠 관련 문의', '2024-06-20 03:16:16'),
    ('CONSULTATION_TOPIC', 'PARTNERSHIP', '제휴', '제휴 서비스 관련 문의', '2024-06-20 03:16:16'),
    ('CONSULTATION_TOPIC', 'ETC', '기타', '기타 상담 주제', '2024-06-20 03:16:16'),
    ('CONSULTATION_REQUIREMENT', 'SINGLE_REQUIREMENT', '단일 요건 민원', '단일 요건에 대한 민원', '2024-06-20 03:16:16'),
    ('CONSULTATION_REQUIREMENT', 'MULTIPLE_REQUIREMENT', '다수 요건 민원', '다수 요건에 대한 민원', '2024-06-20 03:16:16'),
    ('CONSULTATION_CONTENT', 'GENERAL_INQUIRY', '일반 문의 상담', '일반적인 문의 및 안내 상담', '2024-06-20 03:16:16'),
    ('CONSULTATION_CONTENT', 'BUSINESS_PROCESSING', '업무 처리 상담', '실제 업무 처리 및 신청 상담', '2024-06-20 03:16:16'),
    ('CONSULTATION_CONTENT', 'COMPLAINT', '고충 상담', '고충 사항 및 불만 상담', '2024-06-20 03:16:16'),
    ('CONSULTATION_REASON', 'COMPANY', '업체', '업체 관련 상담', '2024-06-20 03:16:16'),
    ('CONSULTATION_REASON', 'COMPLAINANT', '민원인', '민원인 관련 상담', '2024-06-20 03:16:16'),
    ('CONSULTATION_RESULT', 'SATISFACTION', '만족', '고객이 만족한 상담', '2024-06-20 03:16:16'),
    ('CONSULTATION_RESULT', 'INSUFFICIENT', '미흡', '상담이 미흡한 경우', '2024-06-20 03:16:16'),
    ('CONSULTATION_RESULT', 'UNSOLVABLE', '해결 불가', '해결이 불가능한 경우', '2024-06-20 03:16:16'),
    ('CONSULTATION_RESULT', 'ADDITIONAL_CONSULTATION', '추가 상담 필요', '추가 상담이 필요한 경우', '2024-06-20 03:16:16');

-- name: batch
-- The calls and what was said in them. The first third comes from a version that measured neither the audio nor
-- its confidence and wrote no summary.
insert into audio_properties
select id, 'audio\' || file_name, file_name, duration, 16000, 1, created, 1,
       '.mp3', 0.01 + dice / 1024, 8000.0, iif(dice2 < 0.2, null, 16),
       0.02 + 0.06 * dice, 0.04 + 0.08 * dice2, 700.0 + 900.0 * dice3,
       30000.0 + 60000.0 * dice2, 60000.0 + 50000.0 * dice, 500.0 + 900.0 * dice3, 1.0e-6 * (1.0 + dice),
       mfcc_1, mfcc_2, mfcc_3, mfcc_4, mfcc_5, mfcc_6, mfcc_7, mfcc_8, mfcc_9, mfcc_10, mfcc_11, mfcc_12, mfcc_13,
       summary, quality < 0.3, iif(dice2 < 0.3, 0.0, 400.0 + 900.0 * dice)
from measured
where day >= '2024-09-01';

insert into audio_properties
    (id, file_path, file_name, duration, sample_rate, channels, created_at)
select id, 'audio\' || file_name, file_name, iif(dice < 0.5, 0.0, duration), 16000, 1, created
from measured
where day < '2024-09-01';

insert into utterances
    (audio_properties_id, speaker, start_time, end_time, text, confidence, created_at, sequence, sentiment, profane)
select id, iif(speaker = 'A', '상담사', '고객'), start_time, end_time, text,
       iif(created < '2024-09-01', 0.0, 1.0 - 0.45 * dice * dice), created, n + 1,
       case tone when 1 then '긍정' when -1 then '부정' else '중립' end, profane
from spoken;

-- One analysis in twenty-five fails.
insert into consultation_analysis
    (audio_properties_id, business_type, classification_type, detail_classification, consultation_result,
     summary, customer_request, solution, additional_info, confidence, processing_time, created_at)
select id, business_type, classification_type, detail_classification,
       case when quality > 0.45 then '만족' when quality > 0.3 then '미흡'
            when quality > 0.22 then '추가 상담 필요' else '해결 불가' end,
       measured.summary, customer_request, measured.solution, measured.additional_info,
       0.6 + 0.4 * dice2, 20.0 + 280.0 * dice3, created
from measured join temp.scenario on scenario.n = measured.scenario
where dice >= 0.04;

insert into consultation_analysis
    (audio_properties_id, business_type, classification_type, detail_classification, consultation_result,
     summary, customer_request, solution, additional_info, confidence, processing_time, created_at)
select id, '그 외 업무유형', '상담 주제', '기타', '미흡', '분석 실패', '', '', '', 0.0, 200.0 + 100.0 * dice3, created
from measured
where dice < 0.04;

insert into communication_quality
    (id, audio_properties_id, consultation_id, honorific_ratio, positive_word_ratio, negative_word_ratio,
     euphonious_word_ratio, empathy_ratio, apology_ratio, total_sentences, customer_sentiment_early,
     customer_sentiment_late, customer_sentiment_trend, avg_response_latency, task_ratio, suggestions,
     interruption_count, analysis_details, created_at, updated_at)
select number, measured.id, format('CONSULT_%s_%06d', replace(day, '-', ''), measured.id),
       round(honorific, 2), round(positive, 2), round(negative, 2), round(euphonious, 2), round(empathy, 2),
       round(apology, 2), agent_turns, early, late, late - early, latency * tempo, task_ratio,
       case when dice < 0.5 then 1.0 when dice < 0.75 then 0.6 when dice < 0.9 then 0.2 else 0.0 end,
       interruptions,
       iif(dice2 < 0.1, null,
           format('{"version": "1.%d", "agent_sentences": %d, "customer_sentences": %d, "scores": {"empathy": %.3f,'
                  || ' "clarity": %.3f}, "comment": %s}',
                  dice * 4, agent_turns, turns - agent_turns, 0.6 * quality + 0.4 * dice2, dice3,
                  json_quote(measured.additional_info))),
       created, created
from measured
join temp.script on script.n = measured.script;

insert into communication_quality_details
    (communication_quality_id, sentence_text, sentence_order, has_honorific, has_positive_word, has_negative_word,
     has_euphonious_word, has_empathy, has_apology, matched_patterns, created_at)
select number, text, n + 1, marks & 1, marks >> 1 & 1, marks >> 2 & 1, marks >> 3 & 1, marks >> 4 & 1,
       marks >> 5 & 1, iif(patterns = '{}', null, patterns), created
from spoken
where speaker = 'A';

-- name: after
-- Each start of the application tried to insert the codes again ("insert or ignore"), and each try took numbers.
update sqlite_sequence set seq = seq * 48 where name in ('business_type_codes', 'classification_type_codes');
update sqlite_sequence set seq = seq * 47 where name = 'detail_classification_codes';
update sqlite_sequence set seq = seq + 2 where name in ('audio_properties', 'consultation_analysis');
update sqlite_sequence set seq = seq + 60 where name = 'utterances';
